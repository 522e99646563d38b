-- Placement by cached prefix, as far as balance allows: among the workers that hold a worthwhile beginning of the prompt, the
-- one with the longest; if each of them fits badly or is loaded above BALANCE times the mean, the least loaded that fits.
--
-- But not where others' prompts are being computed, which is what most of the time to a first token is spent on: a worker is
-- believed to be busy with those that it was granted for as long as it says it needs (`prefill`, tokens a ms). While the
-- first choice is, whoever would have computed this prompt soonest is taken. Workers that do not say are never busy.
--
-- A prompt comes as markers "hash.tokens": hashes of its beginnings, each with the tokens it adds to the one before.
-- KEY.prefix maps a marker to the caches that hold it; KEY.cache, by cache id, has a cache's markers in the order of their use. A
-- cache id is "worker@number", new for every epoch and every version of the weights, so nothing stale is ever found; what
-- the old one held is cleared away by reap.lua. A cache holds as many tokens as its worker's KV cache, and no more than
-- MAX_MARKERS markers.
local BALANCE = 1.25
local WORTHWHILE = 0.1 -- of the prompt
local HOLDERS = 8 -- caches known for one marker
local LOOKED_AT = 8 -- workers with a cached beginning
local ELSEWHERE = 4 -- of the least loaded workers, looked at while those are busy
local MAX_MARKERS = 4096
local EVICTED = 64 -- markers dropped in one call

-- Taken apart once a request: markers, the tokens that each adds, those of all, and the caches that hold each.
local function parts_of(request)
  if not request.parts then
    local markers, tokens, total = {}, {}, 0
    for marker, adds in string.gmatch(request.markers, '(%S+%.(%d+))') do
      markers[#markers + 1], tokens[#tokens + 1] = marker, tonumber(adds)
      total = total + adds
    end
    local known = total > 0 and redis.call('HMGET', KEY.prefix, unpack(markers))
    request.parts = { markers = markers, tokens = tokens, total = total, known = known }
  end
  return request.parts
end

-- Workers by the beginning they hold, longest first: {id, tokens, cache id}.
local function holders(parts)
  local found, seen, total = {}, {}, parts.total
  for i = #parts.markers, 1, -1 do
    -- By cache, not by worker: the cache that a worker had before may still stand before the one it has now.
    for cache, worker_id in string.gmatch(parts.known[i] or '', ',(([^,@]+)@%d+)') do
      if not seen[cache] and #found < LOOKED_AT then
        seen[cache] = true
        found[#found + 1] = { id = worker_id, tokens = total, cache = cache }
      end
    end
    total = total - parts.tokens[i]
  end
  return found
end

-- Whether it is the cache that its worker has now.
local function is_now(holder)
  return worker_of(holder.id).cache == holder.cache
end

local function granted_in_all()
  local sum = 0
  for _, running in ipairs(KEY.running) do
    sum = sum + redis.call('ZCARD', running)
  end
  return sum
end

-- With one more request, a worker may have BALANCE times what its slots are due, and one.
local function is_balanced(worker_id)
  local slots = worker_of(worker_id).slots
  local due = (granted_in_all() + 1) * slots / (redis.call('HGET', KEY.turns, 'slots') or slots)
  return worker_of(worker_id).held + 1 <= BALANCE * due + 1
end

-- How long (ms) a worker computes other prompts first, and when it would have computed this one.
local function prefill_of(worker_id, request, cached)
  local w = worker_of(worker_id)
  local others = math.max(0, w.busy - now)
  return others, others + (w.prefill > 0 and math.max(0, request.prompt - cached) / w.prefill or 0)
end

-- Of a worker that fits and the best so far, the one that has computed the prompt sooner.
local function sooner(best, worker_id, request, cached)
  local others, done = prefill_of(worker_id, request, cached)
  return (best and best.done <= done) and best or { id = worker_id, cached = cached, busy = others > 0, done = done }
end

local function best_holder(request)
  local parts, best = parts_of(request), nil
  for _, holder in ipairs(parts.total > 0 and holders(parts) or {}) do
    if holder.tokens >= WORTHWHILE * request.prompt and is_now(holder)
      and (not refuge.needed or refuge.is_home(request, holder.id)) and is_free_for(request, holder.id) and is_balanced(holder.id)
      and fit(holder.id, request) == 'fits'
    then
      best = sooner(best, holder.id, request, holder.tokens)
      if not best.busy then
        return best -- those that follow have less of it
      end
    end
  end
  return best
end

local function choose(request)
  local best = best_holder(request)
  if request.adapter == '' and not (best and not best.busy) then
    for _, worker_id in ipairs(workers_for(request, ELSEWHERE)) do
      if fit(worker_id, request) == 'fits' then
        best = sooner(best, worker_id, request, 0)
        if not best.busy then
          break
        end
      end
    end
  end
  if best then
    return best.id, nil, best.cached
  end
  local worker_id, reason = first_fit(request)
  return worker_id, reason, 0
end

-- Of the workers that hold the longest worthwhile beginning, one in turn.
local function wish(request)
  local parts, longest = parts_of(request), {}
  for _, holder in ipairs(parts.total > 0 and holders(parts) or {}) do
    if holder.tokens >= WORTHWHILE * request.prompt and holder.tokens == (longest[1] or holder).tokens and is_now(holder) then
      longest[#longest + 1] = holder
    end
  end
  if #longest > 0 then
    return longest[redis.call('GET', KEY.arrivals) % #longest + 1].id
  end
end

-- Adds a cache to those that hold a marker, in place of the one known longest if there are many. Returns the new list, or
-- nil if it was among them already; and the cache that had to give way.
local function with_holder(list, cache)
  if not list then
    return ',' .. cache .. ','
  end
  if string.find(list, ',' .. cache .. ',', 1, true) then
    return nil
  end
  local gives_way
  local _, commas = string.gsub(list, ',', ',')
  if commas > HOLDERS then
    gives_way = string.match(list, '^,([^,]+)')
    list = string.sub(list, #gives_way + 2)
  end
  return list .. cache .. ',', gives_way
end

local function shrink(cache, tokens)
  local worker_id = string.match(cache, '^[^@]+')
  if worker_of(worker_id).cache == cache then
    redis.call('HINCRBY', KEY.worker .. worker_id, 'cached', 0 - tokens)
  end
end

local function evict(worker_id, cache, tokens)
  local capacity = worker_of(worker_id).kv_tokens
  local surplus = redis.call('ZCARD', KEY.cache .. cache) - MAX_MARKERS
  local dropped = 0
  while (tokens > capacity or surplus > 0) and dropped < EVICTED do
    local marker = redis.call('ZPOPMIN', KEY.cache .. cache)[1]
    if not marker then
      break
    end
    forget_holder(marker, cache)
    tokens, surplus, dropped = tokens - string.match(marker, '%d+$'), surplus - 1, dropped + 1
  end
  redis.call('HSET', KEY.worker .. worker_id, 'cached', math.max(0, tokens))
end

-- The worker computes the prompt now, so all of it will be in its cache. Later beginnings are dropped before earlier ones.
local function took(request, worker_id, cached)
  local w = worker_of(worker_id)
  if w.prefill > 0 then
    w.busy = now + select(2, prefill_of(worker_id, request, cached))
    redis.call('HSET', KEY.worker .. worker_id, 'busy_ms', string.format('%.3f', w.busy))
  end
  local parts, cache = parts_of(request), w.cache
  if parts.total == 0 or not cache then
    return
  end
  local used = redis.call('INCR', KEY.arrivals) * 1000
  local uses, changed, tokens = {}, {}, tonumber(redis.call('HGET', KEY.worker .. worker_id, 'cached') or 0)
  for i, marker in ipairs(parts.markers) do
    uses[2 * i - 1], uses[2 * i] = used - i, marker
    local list, gives_way = with_holder(parts.known[i], cache)
    if list then
      changed[#changed + 1], changed[#changed + 2] = marker, list
      tokens = tokens + parts.tokens[i]
    end
    if gives_way then
      redis.call('ZREM', KEY.cache .. gives_way, marker)
      shrink(gives_way, parts.tokens[i])
    end
  end
  redis.call('ZADD', KEY.cache .. cache, unpack(uses))
  if #changed > 0 then
    redis.call('HSET', KEY.prefix, unpack(changed))
    evict(worker_id, cache, tokens)
  end
end
