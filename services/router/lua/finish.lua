#!lua flags=allow-oom
-- Ends a request in whatever state it is, corrects what it was charged, and grants the capacity that this frees.
--
-- Guarantee: safe to repeat; another attempt than the current one is left alone.
--
-- ARGV  1 router id   2 ageing of priority   3 of default   4 of flex   5 of batch   6 preempting   7 preemptible
--       8 request id   9 attempt   10 tokens that it really cost, or -1 when it will be submitted again
-- Returns {tokens of its prompt that were expected to be cached or -1 if nothing ended, events}
local ROUTER = ARGV[1]
-- @include keys
-- @clock
-- @include rules
-- @include events
-- @include turns
-- @include limits
-- @policy order
-- @include workers
-- @include free
-- @include caches
-- @include release
-- @include granting
local attempt, expected = unpack(redis.call('HMGET', KEY.request .. ARGV[8], 'attempt', 'expected_cached'))
local actual = tonumber(ARGV[10])
local ended = attempt == ARGV[9] and release(ARGV[8], actual >= 0 and actual or nil)
grant_if_any_wait()
return { ended and tonumber(expected or 0) or -1, events }
