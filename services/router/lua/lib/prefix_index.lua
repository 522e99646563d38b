-- @require workers
-- The prefix index: which worker caches are believed to hold which prefixes of prompts. KEY.prefix maps a prefix hash to the ids
-- of these caches, as ",id,id,". KEY.cache, completed with a cache id, has the prefix hashes of one cache in the order of their
-- use. A cache id is "worker@number". A worker gets a new one with every epoch and every version of the weights, so a stale
-- entry is never found. prefix_holders.lua reads the index and adds to it.

local function remove_holder(hash, cache)
  local list = redis.call('HGET', KEY.prefix, hash)
  local first, last = string.find(list or '', ',' .. cache .. ',', 1, true)
  if first then
    list = string.sub(list, 1, first) .. string.sub(list, last + 1)
    if list == ',' then
      redis.call('HDEL', KEY.prefix, hash)
    else
      redis.call('HSET', KEY.prefix, hash, list)
    end
  end
end

-- From now on nothing is found of what the worker had cached. The script reap deletes the entries later, a few at a time.
local function forget_cache(worker_id)
  local cache = redis.call('HGET', KEY.worker .. worker_id, 'cache')
  if cache then
    redis.call('SADD', KEY.forgotten, cache)
  end
end

-- Gives the worker an empty cache.
local function new_cache(worker_id)
  forget_cache(worker_id)
  local cache = string.format('%s@%d', worker_id, redis.call('INCR', KEY.arrivals))
  redis.call('HSET', KEY.worker .. worker_id, 'cache', cache, 'cached', 0, 'busy_ms', 0)
  forget_worker(worker_id)
end
