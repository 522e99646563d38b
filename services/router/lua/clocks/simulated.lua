-- The clock of a simulation or a test, which stores the time in a key before it calls a script.
local now -- milliseconds; set once at the start of a call

local function read_clock()
  now = tonumber(redis.call('GET', KEYS[1] .. 'clock'))
end
