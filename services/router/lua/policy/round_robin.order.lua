local function order_of(worker_id)
  return redis.call('HGET', WORKER .. worker_id, 'turn') or 0
end
