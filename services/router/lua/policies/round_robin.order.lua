-- The worker that was granted to least recently comes first.
local function order_of(worker_id)
  return redis.call('HGET', KEY.worker .. worker_id, 'turn') or 0
end
