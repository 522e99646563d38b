-- Forgets a request in any state and gives back what it held. Safe for one that does not exist.
local function release(request_id)
  local key = REQUEST .. request_id
  local session, rank, worker, kv = unpack(redis.call('HMGET', key, 'session', 'rank', 'worker', 'kv'))
  if not session then
    return false
  end
  if worker then
    redis.call('SREM', HELD .. worker, request_id)
    if redis.call('EXISTS', WORKER .. worker) == 1 then
      -- Not `-kv`: the negative of 0 prints as "-0", which Redis 7.0 takes for no integer.
      redis.call('HINCRBY', WORKER .. worker, 'kv_reserved', 0 - kv)
      refresh_free(worker)
    end
  else
    redis.call('ZREM', QUEUES[rank + 1], request_id)
    redis.call('ZREM', DEADLINES, request_id)
  end
  redis.call('SREM', OWNED .. session, request_id)
  redis.call('DEL', key)
  return true
end
