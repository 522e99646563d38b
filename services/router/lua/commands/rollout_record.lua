#!lua flags=allow-oom
-- @require clock, class_rules, workers, ready_slots, worker_capacity, sides
-- Replaces one of the records of the pool: the rollout of its model or of its speculator, or the class rules that were
-- changed at run time.
--
-- Guarantee: when several replicas replace the same revision, one succeeds. A record is never a mixture of two. From the call
-- that changes which version requests may start on, no replica grants to a worker of another version.
--
-- ARG record     rollout, speculator or rules
-- ARG replaces   the revision that is replaced; 0: there is none
-- ARG entry      what the history of rollouts keeps of this change, as JSON; "" for nothing
-- ARG kept       entries that the history keeps
-- ARG fields...  a field of the new record, its value, the next field, and so on
-- Returns 1, or 0 when the revision was replaced already
local record = KEY.rules
local history = KEY.rollouts
if ARG.record == 'rollout' then
  record = KEY.rollout
elseif ARG.record == 'speculator' then
  record = KEY.speculator
  history = KEY.speculators
end
if (redis.call('HGET', record, 'revision') or '0') ~= ARG.replaces then
  return 0
end

-- Workers are told apart anew, whatever they last reported.
local function sort_workers()
  for _, worker_id in ipairs(redis.call('ZRANGE', KEY.workers, 0, -1)) do
    local w = worker_of(worker_id)
    local side = side_of(w.version)
    if w.version and side ~= (w.side or '') then
      redis.call('HSET', KEY.worker .. worker_id, 'side', side)
      forget_worker(worker_id)
      count_slots(worker_id, w.state == 'ready' and side ~= 'closed' and w.slots or 0)
      refresh_free(worker_id)
    end
  end
end

read_clock()
redis.call('DEL', record)
redis.call('HSET', record, unpack(ARGV, INDEX.fields))
if ARG.record == 'rollout' then
  sort_workers()
end
if ARG.entry ~= '' then
  redis.call('RPUSH', history, ARG.entry)
  redis.call('LTRIM', history, 0 - ARG.kept, -1)
end
return 1
