-- What a worker has room for. FREE holds those that take one more request, in the order in which the policy looks at them.

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
  return math.max(granted / slots, math.max(reserved or 0, used or 0) / kv_tokens), granted
end

local function refresh_free(worker_id)
  local load = load_of(worker_id)
  if load then
    redis.call('ZADD', FREE, order_of(worker_id, load), worker_id)
  else
    redis.call('ZREM', FREE, worker_id)
  end
end

-- Keeps the sum of the slots of ready workers, by which mean load is known.
local function count_slots(worker_id, slots)
  local counted = redis.call('HGET', WORKER .. worker_id, 'counted') or 0
  if tonumber(counted) ~= slots then
    redis.call('HINCRBY', TURNS, 'slots', slots - counted)
    redis.call('HSET', WORKER .. worker_id, 'counted', slots)
  end
end
