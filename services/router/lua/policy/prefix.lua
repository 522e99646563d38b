-- Placement by cached prefix, as far as balance allows: among the workers that hold a worthwhile beginning of the prompt, the
-- one with the longest; if each of them fits badly or is loaded above BALANCE times the mean, the least loaded that fits.
--
-- A prompt comes as markers "hash.tokens": hashes of its beginnings, each with the tokens it adds to the one before.
-- PREFIX maps a marker to the caches that hold it; CACHE, by cache id, has a cache's markers in the order of their use. A
-- cache id is "worker@number", new for every epoch and every version of the weights, so nothing stale is ever found; what
-- the old one held is cleared away by reap.lua. A cache holds as many tokens as its worker's KV cache, and no more than
-- MAX_MARKERS markers.
local BALANCE = 1.25
local WORTHWHILE = 0.1 -- of the prompt
local HOLDERS = 8 -- caches known for one marker
local LOOKED_AT = 8 -- workers with a cached beginning
local MAX_MARKERS = 4096
local EVICTED = 64 -- markers dropped in one call

local function tokens_of(marker)
  return tonumber(string.sub(marker, string.find(marker, '.', 1, true) + 1))
end

-- Taken apart once a request: markers, and the tokens of them all.
local function markers_of(request)
  if not request.parts then
    request.parts, request.total = {}, 0
    for marker in string.gmatch(request.markers, '%S+') do
      request.total = request.total + tokens_of(marker)
      request.parts[#request.parts + 1] = marker
    end
  end
  return request.parts, request.total
end

-- Workers by the beginning they hold, longest first: {id, tokens, cache id}.
local function holders(markers, total)
  local found, seen = {}, {}
  local known = redis.call('HMGET', PREFIX, unpack(markers))
  for i = #markers, 1, -1 do
    -- By cache, not by worker: the cache that a worker had before may still stand before the one it has now.
    for cache, worker_id in string.gmatch(known[i] or '', ',(([^,@]+)@%d+)') do
      if not seen[cache] and #found < LOOKED_AT then
        seen[cache] = true
        found[#found + 1] = { id = worker_id, tokens = total, cache = cache }
      end
    end
    total = total - tokens_of(markers[i])
  end
  return found
end

local function granted_in_all()
  local sum = 0
  for _, running in ipairs(RUNNING) do
    sum = sum + redis.call('ZCARD', running)
  end
  return sum
end

-- With one more request, a worker may have BALANCE times what its slots are due, and one.
local function is_balanced(slots, worker_id)
  local due = (granted_in_all() + 1) * slots / (redis.call('HGET', TURNS, 'slots') or slots)
  return redis.call('SCARD', HELD .. worker_id) + 1 <= BALANCE * due + 1
end

local function choose(request)
  local markers, total = markers_of(request)
  if total == 0 then
    local worker_id, reason = first_fit(request)
    return worker_id, reason, 0
  end
  for _, holder in ipairs(holders(markers, total)) do
    local cache, slots = unpack(redis.call('HMGET', WORKER .. holder.id, 'cache', 'slots'))
    if holder.tokens >= WORTHWHILE * request.prompt and cache == holder.cache
      and is_free_for(request, holder.id) and is_balanced(slots, holder.id)
      and fit(holder.id, request) == 'fits'
    then
      return holder.id, nil, holder.tokens
    end
  end
  local worker_id, reason = first_fit(request)
  return worker_id, reason, 0
end

-- Of the workers that hold the longest worthwhile beginning, one in turn.
local function wish(request)
  local markers, total = markers_of(request)
  local longest = {}
  for _, holder in ipairs(total > 0 and holders(markers, total) or {}) do
    if holder.tokens >= WORTHWHILE * request.prompt and holder.tokens == (longest[1] or holder).tokens
      and redis.call('HGET', WORKER .. holder.id, 'cache') == holder.cache
    then
      longest[#longest + 1] = holder
    end
  end
  if #longest > 0 then
    return longest[redis.call('GET', ARRIVALS) % #longest + 1].id
  end
end

-- Adds a cache to those that hold a marker, in place of the one known longest if there are many. Returns the new list, or
-- nil if it was among them already; and the cache that had to give way.
local function with_holder(list, cache)
  if list and string.find(list, ',' .. cache .. ',', 1, true) then
    return nil
  end
  list = list or ','
  local gives_way
  local _, commas = string.gsub(list, ',', ',')
  if commas > HOLDERS then
    gives_way = string.match(list, '^,([^,]+)')
    list = string.sub(list, #gives_way + 2)
  end
  return list .. cache .. ',', gives_way
end

local function shrink(cache, tokens)
  local worker = WORKER .. string.match(cache, '^[^@]+')
  if redis.call('HGET', worker, 'cache') == cache then
    redis.call('HINCRBY', worker, 'cached', 0 - tokens)
  end
end

local function evict(worker_id, cache, tokens)
  local capacity = tonumber(redis.call('HGET', WORKER .. worker_id, 'kv_tokens'))
  local surplus = redis.call('ZCARD', CACHE .. cache) - MAX_MARKERS
  local dropped = 0
  while (tokens > capacity or surplus > 0) and dropped < EVICTED do
    local marker = redis.call('ZPOPMIN', CACHE .. cache)[1]
    if not marker then
      break
    end
    forget_holder(marker, cache)
    tokens, surplus, dropped = tokens - tokens_of(marker), surplus - 1, dropped + 1
  end
  redis.call('HSET', WORKER .. worker_id, 'cached', math.max(0, tokens))
end

-- The worker computes the prompt now, so all of it will be in its cache. Later beginnings are dropped before earlier ones.
local function took(request, worker_id)
  local markers = markers_of(request)
  local cache, cached = unpack(redis.call('HMGET', WORKER .. worker_id, 'cache', 'cached'))
  if #markers == 0 or not cache then
    return
  end
  local used = redis.call('INCR', ARRIVALS) * 1000
  local known = redis.call('HMGET', PREFIX, unpack(markers))
  local uses, changed, tokens = {}, {}, tonumber(cached or 0)
  for i, marker in ipairs(markers) do
    uses[#uses + 1], uses[#uses + 2] = used - i, marker
    local list, gives_way = with_holder(known[i], cache)
    if list then
      changed[#changed + 1], changed[#changed + 2] = marker, list
      tokens = tokens + tokens_of(marker)
    end
    if gives_way then
      redis.call('ZREM', CACHE .. gives_way, marker)
      shrink(gives_way, tokens_of(marker))
    end
  end
  redis.call('ZADD', CACHE .. cache, unpack(uses))
  if #changed > 0 then
    redis.call('HSET', PREFIX, unpack(changed))
    evict(worker_id, cache, tokens)
  end
end
