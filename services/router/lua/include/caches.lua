-- Which caches are believed to hold which beginnings of prompts (policy/prefix.lua has the whole story).
local function forget_holder(marker, cache)
  local list = redis.call('HGET', KEY.prefix, marker)
  local first, last = string.find(list or '', ',' .. cache .. ',', 1, true)
  if first then
    list = string.sub(list, 1, first) .. string.sub(list, last + 1)
    if list == ',' then
      redis.call('HDEL', KEY.prefix, marker)
    else
      redis.call('HSET', KEY.prefix, marker, list)
    end
  end
end

-- From now on nothing is found of what the worker had cached; the markers are cleared away later, a few at a time.
local function forget_cache(worker_id)
  local cache = redis.call('HGET', KEY.worker .. worker_id, 'cache')
  if cache then
    redis.call('SADD', KEY.forgotten, cache)
  end
end

local function new_cache(worker_id)
  forget_cache(worker_id)
  local cache = string.format('%s@%d', worker_id, redis.call('INCR', KEY.arrivals))
  redis.call('HSET', KEY.worker .. worker_id, 'cache', cache, 'cached', 0, 'busy_ms', 0)
  forget_worker(worker_id)
end
