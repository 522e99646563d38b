-- Events tell router replicas what to say to gateways. Those for the calling replica are returned, the others wait in
-- the outbox of the replica that their session is connected to. A lost event does no harm: a gateway that reconnects
-- submits again and is told the state as it is.
local OUTBOX_TTL_S = 60
local events = {}

-- Returns it as it is told.
local function emit(event)
  local document, router = cjson.encode(event), redis.call('GET', KEY.session .. event.session)
  if router == ROUTER then
    events[#events + 1] = document
  elseif router then
    redis.call('RPUSH', KEY.outbox .. router, document)
    redis.call('EXPIRE', KEY.outbox .. router, OUTBOX_TTL_S)
  end
  return document
end
