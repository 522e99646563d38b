-- Which caches are believed to hold which beginnings of prompts (policy/prefix.lua has the whole story).
local function forget_holder(marker, cache)
  local list = redis.call('HGET', PREFIX, marker)
  local first, last = string.find(list or '', ',' .. cache .. ',', 1, true)
  if first then
    list = string.sub(list, 1, first) .. string.sub(list, last + 1)
    if list == ',' then
      redis.call('HDEL', PREFIX, marker)
    else
      redis.call('HSET', PREFIX, marker, list)
    end
  end
end

-- From now on nothing is found of what the worker had cached; the markers are cleared away later, a few at a time.
local function forget_cache(worker_id)
  local cache = redis.call('HGET', WORKER .. worker_id, 'cache')
  if cache then
    redis.call('SADD', FORGOTTEN, cache)
  end
end

local function new_cache(worker_id)
  forget_cache(worker_id)
  local cache = string.format('%s@%d', worker_id, redis.call('INCR', ARRIVALS))
  redis.call('HSET', WORKER .. worker_id, 'cache', cache, 'cached', 0)
end
