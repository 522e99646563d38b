#!lua flags=allow-oom
-- @require clock, class_rules, events, release, grant_waiting
-- Ends a request, queued or granted, corrects what it was charged, and grants the capacity that this frees.
--
-- Guarantee: safe to repeat. A request whose current attempt is another one is left alone.
--
-- ARG request_id     id of the request
-- ARG attempt        number of the attempt that ended
-- ARG actual_tokens  tokens that it really cost, or -1 when it will be submitted again
-- Returns {tokens of its prompt that were expected to be cached, or -1 if nothing ended; events}
read_clock()
local attempt, expected = unpack(redis.call('HMGET', KEY.request .. ARG.request_id, 'attempt', 'expected_cached'))
local actual = tonumber(ARG.actual_tokens)
local ended = attempt == ARG.attempt and release(ARG.request_id, actual >= 0 and actual or nil)
grant_waiting()
return { ended and tonumber(expected or 0) or -1, events }
