#!lua flags=allow-oom
-- @require clock, class_rules, events, fair_queue, start_tags, workers, ready_slots, free_workers, release, revoke
-- @require prefix_index, isolation_pool, isolation_sizing, grant, preempt
-- Removes what time has ended: sessions and workers whose leases lapsed, requests past their deadline, index entries of caches
-- that no longer exist, tags of tenants that have had their turns. Resizes the isolation pool. Then grants, and preempts for
-- requests that would miss their objective.
--
-- A worker that was not heard of for half its lease loses what it was granted since then: it never began this work, which need
-- not wait for the end of the lease.
--
-- Guarantee: safe to run from every replica at any time. Does at most `limit` of each kind of work. If no replica reaped for a
-- while, none could renew a lease either, because Redis or all replicas were away. Then no lease counts as lapsed until all
-- sessions and workers had time to be heard of.
--
-- ARG limit            work of each kind at most
-- ARG worker_lease_ms  lease of workers
-- ARG spare_ms         time for sessions and workers to be heard of after such a while
-- Returns {{sessions, workers, requests reaped}, events}
local SILENCE_MS = 2000
local limit = tonumber(ARG.limit)

-- Whether leases count as lapsed now.
local function may_end_leases()
  local reaped, spared = unpack(redis.call('HMGET', KEY.fair_queue, 'reaped', 'spared'))
  if reaped and now - reaped > SILENCE_MS then
    spared = now + ARG.spare_ms
    redis.call('HSET', KEY.fair_queue, 'spared', spared)
  end
  redis.call('HSET', KEY.fair_queue, 'reaped', now)
  return now >= tonumber(spared or 0)
end

local function due(key, in_ms)
  return redis.call('ZRANGE', key, '-inf', now + (in_ms or 0), 'BYSCORE', 'LIMIT', 0, limit)
end

-- A session with more requests than the limit stays for the next round.
local function reap_session(session)
  for _, request_id in ipairs(redis.call('SRANDMEMBER', KEY.owned .. session, limit)) do
    if not release(request_id) then
      redis.call('SREM', KEY.owned .. session, request_id)
    end
  end
  if redis.call('SCARD', KEY.owned .. session) == 0 then
    redis.call('DEL', KEY.session .. session)
    redis.call('ZREM', KEY.sessions, session)
  end
end

local function reap_worker(worker_id)
  count_slots(worker_id, 0)
  forget_caches(worker_id)
  redis.call('ZREM', KEY.workers, worker_id)
  no_longer_free(worker_id)
  redis.call('DEL', KEY.worker .. worker_id)
  forget_worker(worker_id)
  revoke_all(worker_id, 'lost')
end

-- A worker that begins a request sends a heartbeat at once. So a silent worker never began what it was granted since its last.
local function take_unbegun(worker_id)
  local beat, quiet = unpack(redis.call('HMGET', KEY.worker .. worker_id, 'beat_ms', 'quiet_ms'))
  if now < tonumber(quiet or math.huge) then
    return
  end
  for _, request_id in ipairs(redis.call('SMEMBERS', KEY.held .. worker_id)) do
    if tonumber(redis.call('HGET', KEY.request .. request_id, 'granted') or 0) >= tonumber(beat) then
      revoke(request_id, 'lost')
    end
  end
end

local function clear_forgotten()
  local cache = redis.call('SRANDMEMBER', KEY.forgotten)
  if not cache then
    return
  end
  local hashes = redis.call('ZPOPMIN', KEY.cache .. cache, limit)
  for i = 1, #hashes, 2 do
    remove_holder(hashes[i], cache)
  end
  if #hashes < 2 * limit then
    redis.call('SREM', KEY.forgotten, cache)
  end
end

-- A tenant whose last request ends before virtual time is like one that never sent anything. So is every tenant of an idle class.
local function clear_tags(rank)
  local tenants, virtual = KEY.tenants[rank + 1], redis.call('HGET', KEY.fair_queue, 'v' .. rank)
  local idle = length(rank) == 0 and redis.call('ZCARD', KEY.running[rank + 1]) == 0
  local past = redis.call('ZRANGE', tenants, '-inf', idle and '+inf' or virtual or 0, 'BYSCORE', 'LIMIT', 0, limit)
  if #past > 0 then
    redis.call('ZREM', tenants, unpack(past))
  end
  if idle and virtual and redis.call('ZCARD', tenants) == 0 then
    redis.call('HDEL', KEY.fair_queue, 'v' .. rank)
  end
end

read_clock()
local sessions, workers_lost, silent, requests = {}, {}, {}, due(KEY.deadlines)
if may_end_leases() then
  sessions, workers_lost, silent = due(KEY.sessions), due(KEY.workers), due(KEY.workers, ARG.worker_lease_ms / 2)
end
for _, session in ipairs(sessions) do
  reap_session(session)
end
for _, worker_id in ipairs(workers_lost) do
  reap_worker(worker_id)
end
for _, worker_id in ipairs(silent) do
  take_unbegun(worker_id)
end
resize_isolation_pool()
check_isolation()
for _, request_id in ipairs(requests) do
  if redis.call('EXISTS', KEY.request .. request_id) == 1 then
    expire(request_id)
  else
    redis.call('ZREM', KEY.deadlines, request_id)
  end
end
clear_forgotten()
grant_in_order()
for rank = 0, 3 do
  clear_tags(rank)
  preempt(rank)
end
return { { #sessions, #workers_lost, #requests }, events }
