-- Takes back everything granted to a worker that is gone and tells the gateways. At most as many as its slots.
local function revoke_all(worker_id, reason)
  for _, request_id in ipairs(redis.call('SMEMBERS', HELD .. worker_id)) do
    local session, attempt = unpack(redis.call('HMGET', REQUEST .. request_id, 'session', 'attempt'))
    if release(request_id) then
      emit({ kind = 'revoke', session = session, request = request_id, attempt = attempt, reason = reason })
    end
  end
  redis.call('DEL', HELD .. worker_id)
end
