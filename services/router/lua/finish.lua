-- Ends a request in whatever state it is, and grants the capacity that this frees.
--
-- Guarantee: safe to repeat; another attempt than the current one is left alone.
--
-- ARGV  1 router id   2 request id   3 attempt
-- Returns {1 if something ended else 0, events}
local ROUTER = ARGV[1]
-- @include keys
-- @include now
-- @include events
-- @include free
-- @include release
-- @include place
-- @include grant
local ended = 0
if redis.call('HGET', REQUEST .. ARGV[2], 'attempt') == ARGV[3] and release(ARGV[2]) then
  ended = 1
end
grant_ready()
return { ended, events }
