-- Keeps two sums over the ready workers: their slots, from which the mean load follows, and how many workers they are.
-- `slots`: the worker's slots, 0 when it is not ready.
local function count_slots(worker_id, slots)
  local counted = redis.call('HGET', KEY.worker .. worker_id, 'counted') or 0
  if tonumber(counted) ~= slots then
    redis.call('HINCRBY', KEY.fair_queue, 'slots', slots - counted)
    redis.call('HINCRBY', KEY.fair_queue, 'ready', (slots > 0 and 1 or 0) - (tonumber(counted) > 0 and 1 or 0))
    redis.call('HSET', KEY.worker .. worker_id, 'counted', slots)
  end
end
