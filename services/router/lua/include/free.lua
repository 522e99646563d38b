-- What a worker has room for. FREE holds those that take one more request, in the order in which the policy looks at them.
--
-- While requests of a class that may preempt wait or run, one of ONE_KEPT_OF slots of each worker is kept for such classes:
-- a worker that has no others free is in KEPT instead. So what is urgent finds a slot at once, wherever its prefix is
-- cached, although the fleet is full. What it takes of them is given back by the next that ends there.
local ONE_KEPT_OF = 16

-- Share of slots or of KV cache in use, whichever is larger. The cache is charged with the larger of what was estimated for
-- the requests granted and what the engine last reported.
local function load_of(worker_id)
  local state, slots, kv_tokens, reserved, used, pressed =
    unpack(redis.call('HMGET', WORKER .. worker_id, 'state', 'slots', 'kv_tokens', 'kv_reserved', 'kv_used', 'pressed'))
  if state ~= 'ready' then
    return nil
  end
  local granted = redis.call('SCARD', HELD .. worker_id)
  if granted >= tonumber(slots) or (pressed == '1' and granted > 0) then
    return nil
  end
  return math.max(granted / slots, math.max(reserved or 0, used or 0) / kv_tokens), slots - granted, slots
end

-- Workers in FREE: asked for once a call, then kept in step.
local free_workers

local function count_free()
  free_workers = free_workers or redis.call('ZCARD', FREE)
  return free_workers
end

local function no_longer_free(worker_id)
  free_workers = count_free() - redis.call('ZREM', FREE, worker_id)
  redis.call('ZREM', KEPT, worker_id)
end

local urgent -- whether requests of a class that may preempt wait or run; asked for once a call

local function is_urgent(rank)
  return may_preempt(rank) and (length(rank) > 0 or redis.call('ZCARD', RUNNING[rank + 1]) > 0)
end

local function slots_kept(slots)
  if slots < ONE_KEPT_OF then
    return 0
  end
  if urgent == nil then
    urgent = is_urgent(0) or is_urgent(1) or is_urgent(2) or is_urgent(3)
  end
  return urgent and math.floor(slots / ONE_KEPT_OF) or 0
end

local function refresh_free(worker_id)
  local load, left, slots = load_of(worker_id)
  if not load then
    no_longer_free(worker_id)
  elseif left > slots_kept(tonumber(slots)) then
    redis.call('ZREM', KEPT, worker_id)
    free_workers = count_free() + redis.call('ZADD', FREE, order_of(worker_id, load), worker_id)
  else
    no_longer_free(worker_id)
    redis.call('ZADD', KEPT, order_of(worker_id, load), worker_id)
  end
end

-- For requests of this class: whether any worker has a slot, whether this one has, and which ones do.
local function has_room(rank)
  return count_free() > 0 or (may_preempt(rank) and redis.call('EXISTS', KEPT) == 1)
end

local function is_free_for(rank, worker_id)
  return redis.call('ZSCORE', FREE, worker_id) or (may_preempt(rank) and redis.call('ZSCORE', KEPT, worker_id))
end

local function workers_for(rank, limit)
  local found = redis.call('ZRANGE', FREE, 0, limit - 1)
  if may_preempt(rank) and #found < limit then
    for _, worker_id in ipairs(redis.call('ZRANGE', KEPT, 0, limit - #found - 1)) do
      found[#found + 1] = worker_id
    end
  end
  return found
end

-- Keeps the sum of the slots of ready workers, by which mean load is known.
local function count_slots(worker_id, slots)
  local counted = redis.call('HGET', WORKER .. worker_id, 'counted') or 0
  if tonumber(counted) ~= slots then
    redis.call('HINCRBY', TURNS, 'slots', slots - counted)
    redis.call('HSET', WORKER .. worker_id, 'counted', slots)
  end
end
