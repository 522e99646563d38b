-- @require events, release
-- Takes back grants, and tells the gateways.

-- `reason`: lost, restarted or stuck.
local function revoke(request_id, reason)
  local session, attempt = unpack(redis.call('HMGET', KEY.request .. request_id, 'session', 'attempt'))
  if release(request_id) then
    emit({ kind = 'revoke', session = session, request = request_id, attempt = attempt, reason = reason })
  end
end

-- Takes back every grant of a worker that is gone. A worker has at most as many grants as slots.
local function revoke_all(worker_id, reason)
  for _, request_id in ipairs(redis.call('SMEMBERS', KEY.held .. worker_id)) do
    revoke(request_id, reason)
  end
  redis.call('DEL', KEY.held .. worker_id)
end
