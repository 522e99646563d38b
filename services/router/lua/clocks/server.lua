-- The server's clock. Every lease and every deadline is judged by it and by no other clock.
local now -- milliseconds since 1970; set once at the start of a call

local function read_clock()
  local time = redis.call('TIME')
  now = time[1] * 1000 + math.floor(time[2] / 1000)
end
