#!lua flags=no-writes
-- @require queue_position
-- Tells the positions of queued requests.
--
-- Guarantee: changes nothing.
--
-- ARG requests...  request ids
-- Returns for each request that waits {id, attempt, requests that go before it, expected wait in ms}
local waiting = {}
for i = INDEX.requests, #ARGV do
  local attempt, rank, place, worker =
    unpack(redis.call('HMGET', KEY.request .. ARGV[i], 'attempt', 'rank', 'place', 'worker'))
  if attempt and not worker then
    local position, wait_ms = queue_position(tonumber(rank), place)
    waiting[#waiting + 1] = { ARGV[i], tonumber(attempt), position, wait_ms }
  end
end
return waiting
