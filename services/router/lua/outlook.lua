#!lua flags=no-writes
-- Tells how queued requests of a session stand.
--
-- Guarantee: changes nothing.
--
-- ARGV  1 router id   2... request ids
-- Returns for each request that waits {id, attempt, requests that go before it, expected wait in ms}
-- @include keys
-- @clock
-- @include turns
local waiting = {}
for i = 2, #ARGV do
  local attempt, rank, place, worker = unpack(redis.call('HMGET', KEY.request .. ARGV[i], 'attempt', 'rank', 'place', 'worker'))
  if attempt and not worker then
    local position, wait_ms = outlook(tonumber(rank), place)
    waiting[#waiting + 1] = { ARGV[i], tonumber(attempt), position, wait_ms }
  end
end
return waiting
