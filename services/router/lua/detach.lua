#!lua flags=allow-oom
-- A worker's stream to its router ended: grant it nothing more, and let its lease run out soon unless it comes back.
--
-- Guarantee: does nothing when the worker has moved to another replica or was started anew meanwhile.
--
-- ARGV  1 router id   2 worker id   3 epoch   4 grace, ms (0: it said goodbye)
-- Returns {1 if it was ours else 0, events}
local ROUTER = ARGV[1]
-- @include keys
-- @clock
-- @policy order
-- @include workers
-- @include free
local worker_id = ARGV[2]
local router, epoch = unpack(redis.call('HMGET', KEY.worker .. worker_id, 'router', 'epoch'))
if router ~= ROUTER or epoch ~= ARGV[3] then
  return { 0, {} }
end
redis.call('HSET', KEY.worker .. worker_id, 'state', 'detached')
redis.call('ZADD', KEY.workers, 'LT', now + ARGV[4], worker_id)
count_slots(worker_id, 0)
no_longer_free(worker_id)
return { 1, {} }
