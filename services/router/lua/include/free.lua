-- Keeps FREE true for one worker: it is in there while it is ready and has a slot left.
local function refresh_free(worker_id)
  local state, slots = unpack(redis.call('HMGET', WORKER .. worker_id, 'state', 'slots'))
  local granted = redis.call('SCARD', HELD .. worker_id)
  if state == 'ready' and granted < tonumber(slots) then
    redis.call('ZADD', FREE, granted / tonumber(slots), worker_id)
  else
    redis.call('ZREM', FREE, worker_id)
  end
end
