-- @require workers, prefix_index
-- Finds the caches that hold a prefix of a prompt, and notes what a grant will add to a cache (prefix_index.lua has the index).
--
-- A prompt comes as prefix hashes "hash.tokens": each names a prefix of the prompt, with the tokens that it adds to the prefix
-- before it. A cache holds as many tokens as its worker's KV cache, and MAX_HASHES hashes at most.
local HOLDERS = 8 -- caches known for one hash
local LOOKED_AT = 16 -- caches with a prefix: of eight workers, that of the version before too
local MAX_HASHES = 4096
local EVICTED = 64 -- hashes dropped in one call

-- Reads the prefix hashes of a request, once: the hashes, the tokens that each adds, their sum, and the caches that hold each.
local function prefixes_of(request)
  if not request.prefixes then
    local hashes, tokens, total = {}, {}, 0
    for hash, adds in string.gmatch(request.prefix_hashes, '(%S+%.(%d+))') do
      hashes[#hashes + 1], tokens[#tokens + 1] = hash, tonumber(adds)
      total = total + adds
    end
    local known = total > 0 and redis.call('HMGET', KEY.prefix, unpack(hashes))
    request.prefixes = { hashes = hashes, tokens = tokens, total = total, known = known }
  end
  return request.prefixes
end

-- The workers that hold a prefix, longest first: {id, tokens, cache id}.
local function holders(prefixes)
  local found, seen, total = {}, {}, prefixes.total
  for i = #prefixes.hashes, 1, -1 do
    -- `seen` is by cache, not by worker: the worker's former cache may be listed before the one that it has now.
    for cache, worker_id in string.gmatch(prefixes.known[i] or '', ',(([^,@]+)@%d+)') do
      if not seen[cache] and #found < LOOKED_AT then
        seen[cache] = true
        found[#found + 1] = { id = worker_id, tokens = total, cache = cache }
      end
    end
    total = total - prefixes.tokens[i]
  end
  return found
end

-- Whether this is the cache that its worker has now.
local function is_current(holder)
  return worker_of(holder.id).cache == holder.cache
end

-- Adds a cache to the list of those that hold a hash. A full list loses the cache that was added first. Returns the new list,
-- or nil if the cache was in it; and the cache that was removed.
local function with_holder(list, cache)
  if not list then
    return ',' .. cache .. ','
  end
  if string.find(list, ',' .. cache .. ',', 1, true) then
    return nil
  end
  local removed
  local _, commas = string.gsub(list, ',', ',')
  if commas > HOLDERS then
    removed = string.match(list, '^,([^,]+)')
    list = string.sub(list, #removed + 2)
  end
  return list .. cache .. ',', removed
end

local function shrink(cache, tokens)
  local worker_id = string.match(cache, '^[^@]+')
  local worker = worker_of(worker_id)
  if worker.cache == cache then
    redis.call('HINCRBY', KEY.worker .. worker_id, 'cached', 0 - tokens)
  elseif worker.former == cache then
    redis.call('HINCRBY', KEY.worker .. worker_id, 'former_cached', 0 - tokens)
  end
end

-- Drops the least recently used hash of a cache. Returns its tokens, or nil if there is none.
local function drop_oldest(cache)
  local hash = redis.call('ZPOPMIN', KEY.cache .. cache)[1]
  if hash then
    remove_holder(hash, cache)
    return tonumber(string.match(hash, '%d+$'))
  end
end

local function last_use(cache)
  return tonumber(redis.call('ZRANGE', KEY.cache .. cache, 0, 0, 'WITHSCORES')[2] or math.huge)
end

-- Drops the least recently used hashes, of both versions, while a worker's caches hold more than its KV cache can.
local function evict(worker_id, cache, tokens)
  local worker, key = worker_of(worker_id), KEY.worker .. worker_id
  local former = worker.former and worker.former ~= '' and worker.former or nil
  local former_tokens = former and tonumber(redis.call('HGET', key, 'former_cached')) or 0
  local surplus = redis.call('ZCARD', KEY.cache .. cache) - MAX_HASHES
  for _ = 1, EVICTED do
    if surplus <= 0 and tokens + former_tokens <= worker.kv_tokens then
      break
    end
    if surplus <= 0 and former_tokens > 0 and last_use(former) < last_use(cache) then
      former_tokens = math.max(0, former_tokens - (drop_oldest(former) or former_tokens))
    else
      local dropped = drop_oldest(cache)
      if not dropped then
        break
      end
      tokens, surplus = tokens - dropped, surplus - 1
    end
  end
  redis.call('HSET', key, 'cached', math.max(0, tokens))
  if former then
    redis.call('HSET', key, 'former_cached', former_tokens)
  end
end

-- Notes that the worker computes this prompt now, so that its cache will hold all of it. Longer prefixes are evicted before
-- shorter ones.
local function note_prefixes(request, worker_id)
  local prefixes, cache = prefixes_of(request), worker_of(worker_id).cache
  if prefixes.total == 0 or not cache then
    return
  end
  local used = redis.call('INCR', KEY.arrivals) * 1000
  local uses, changed, tokens = {}, {}, tonumber(redis.call('HGET', KEY.worker .. worker_id, 'cached') or 0)
  for i, hash in ipairs(prefixes.hashes) do
    uses[2 * i - 1], uses[2 * i] = used - i, hash
    local list, removed = with_holder(prefixes.known[i], cache)
    if list then
      changed[#changed + 1], changed[#changed + 2] = hash, list
      tokens = tokens + prefixes.tokens[i]
    end
    if removed then
      redis.call('ZREM', KEY.cache .. removed, hash)
      shrink(removed, prefixes.tokens[i])
    end
  end
  redis.call('ZADD', KEY.cache .. cache, unpack(uses))
  if #changed > 0 then
    redis.call('HSET', KEY.prefix, unpack(changed))
    evict(worker_id, cache, tokens)
  end
end
