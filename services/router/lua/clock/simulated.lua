-- Milliseconds of a simulation, which sets them before its calls. Only loadtests' simulator composes scripts with this.
local now = tonumber(redis.call('GET', KEYS[1] .. 'clock'))
