#!lua flags=allow-oom
-- @require clock, ready_slots, free_workers
-- Notes that a worker's stream to its router ended: the worker gets no more grants, and its lease ends soon unless it comes back.
--
-- Guarantee: does nothing when the worker has moved to another replica, or its process was started again.
--
-- ARG router     id of the calling replica
-- ARG worker_id  id of the worker
-- ARG epoch      epoch of its process
-- ARG grace_ms   time to come back; 0 when it said goodbye
-- Returns {1 if the worker was attached to this replica, else 0; events}
read_clock()
local router, epoch = unpack(redis.call('HMGET', KEY.worker .. ARG.worker_id, 'router', 'epoch'))
if router ~= ARG.router or epoch ~= ARG.epoch then
  return { 0, {} }
end
redis.call('HSET', KEY.worker .. ARG.worker_id, 'state', 'detached')
redis.call('ZADD', KEY.workers, 'LT', now + ARG.grace_ms, ARG.worker_id)
count_slots(ARG.worker_id, 0)
no_longer_free(ARG.worker_id)
return { 1, {} }
