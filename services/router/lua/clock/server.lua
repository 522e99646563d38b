-- Milliseconds by the server's clock: the only clock that leases and deadlines are judged by.
local function server_ms()
  local time = redis.call('TIME')
  return time[1] * 1000 + math.floor(time[2] / 1000)
end

local now = server_ms()
