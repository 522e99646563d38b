-- Events tell router replicas what to say to gateways. Those for the calling replica are returned, the others wait in
-- the outbox of the replica that their session is connected to. A lost event does no harm: a gateway that reconnects
-- submits again and is told the state as it is.
local OUTBOX_TTL_S = 60
local events = {}

local function emit(event)
  local router = redis.call('GET', SESSION .. event.session)
  if router == ROUTER then
    events[#events + 1] = cjson.encode(event)
  elseif router then
    redis.call('RPUSH', OUTBOX .. router, cjson.encode(event))
    redis.call('EXPIRE', OUTBOX .. router, OUTBOX_TTL_S)
  end
end
