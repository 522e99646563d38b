-- Takes back what was granted, and tells the gateways.
local function revoke(request_id, reason)
  local session, attempt = unpack(redis.call('HMGET', KEY.request .. request_id, 'session', 'attempt'))
  if release(request_id) then
    emit({ kind = 'revoke', session = session, request = request_id, attempt = attempt, reason = reason })
  end
end

-- All that was granted to a worker that is gone: at most as much as it has slots.
local function revoke_all(worker_id, reason)
  for _, request_id in ipairs(redis.call('SMEMBERS', KEY.held .. worker_id)) do
    revoke(request_id, reason)
  end
  redis.call('DEL', KEY.held .. worker_id)
end
