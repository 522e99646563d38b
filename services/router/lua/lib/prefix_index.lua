-- @require workers
-- The prefix index: which worker caches are believed to hold which prefixes of prompts. KEY.prefix maps a prefix hash to the ids
-- of these caches, as ",id,id,". KEY.cache, completed with a cache id, has the prefix hashes of one cache in the order of their
-- use. A cache id is "worker@number". prefix_holders.lua reads the index and adds to it.
--
-- KV belongs to the version of the weights that computed it. So a worker has a cache for the version that it serves, and keeps
-- that of the version before, which is found again after a rollback. Its hash has, for each of the two, the id (`cache`,
-- `former`) and the tokens in it (`cached`, `former_cached`); `former_version` is the version of the second. Together they hold
-- no more than its KV cache. A new epoch begins with nothing.

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

local function forget(cache)
  if cache and cache ~= '' then
    redis.call('SADD', KEY.forgotten, cache)
  end
end

-- From now on nothing is found of what the worker had cached. The script reap deletes the entries later, a few at a time.
local function forget_caches(worker_id)
  local cache, former = unpack(redis.call('HMGET', KEY.worker .. worker_id, 'cache', 'former'))
  forget(cache)
  forget(former)
end

local function new_cache_id(worker_id)
  return string.format('%s@%d', worker_id, redis.call('INCR', KEY.arrivals))
end

-- Gives the worker an empty cache.
local function new_cache(worker_id)
  forget_caches(worker_id)
  redis.call('HSET', KEY.worker .. worker_id, 'cache', new_cache_id(worker_id), 'cached', 0, 'busy_ms', 0,
    'former', '', 'former_cached', 0, 'former_version', '')
  forget_worker(worker_id)
end

-- The worker's process serves another version than `before`: the one that it served before that, whose cache it has, or any.
local function change_cache(worker_id, before, version)
  local key = KEY.worker .. worker_id
  local cache, cached, former, former_cached, former_version =
    unpack(redis.call('HMGET', key, 'cache', 'cached', 'former', 'former_cached', 'former_version'))
  if not former or former == '' or former_version ~= version then
    forget(former)
    former, former_cached = new_cache_id(worker_id), 0
  end
  redis.call('HSET', key, 'cache', former, 'cached', former_cached, 'busy_ms', 0,
    'former', cache, 'former_cached', cached, 'former_version', before)
  forget_worker(worker_id)
end
