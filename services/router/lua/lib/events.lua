-- Events tell router replicas what to send to gateways. A script returns the events of the calling replica. Events of other
-- replicas go to the outbox of the replica that the gateway session is connected to. A lost event does no harm: the gateway
-- reconnects, submits again and is told the current state. events.py declares the fields of each kind of event.
--
-- ARG router  id of the calling replica
local OUTBOX_TTL_S = 60
local events = {}

-- Returns the event as JSON.
local function emit(event)
  local document, router = cjson.encode(event), redis.call('GET', KEY.session .. event.session)
  if router == ARG.router then
    events[#events + 1] = document
  elseif router then
    redis.call('RPUSH', KEY.outbox .. router, document)
    redis.call('EXPIRE', KEY.outbox .. router, OUTBOX_TTL_S)
  end
  return document
end
