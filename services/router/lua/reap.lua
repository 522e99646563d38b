#!lua flags=allow-oom
-- Clears away what time has ended: lapsed sessions, lost workers, requests past their deadline, markers of caches that are
-- no more, tags of tenants that have had their turns. Keeps the refuge. Then grants, and makes room for what would be
-- late. What a worker was granted since it was last heard of, half its lease ago, it has never begun: that need not wait
-- for all of its lease.
--
-- Guarantee: safe to run from every replica at any time; does at most `limit` of each kind of work. Where nobody reaped for a
-- while, nobody could renew a lease either, because Redis or all replicas were away: then no session and no worker is
-- taken for lost until all had time to be heard of.
--
-- ARGV  1 router id   2 ageing of priority   3 of default   4 of flex   5 of batch   6 preempting   7 preemptible
--       8 limit   9 lease of workers, ms   10 that time, ms
-- Returns {{sessions, workers, requests reaped}, events}
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
-- @include revoke
-- @include preempt
-- @include shelter
local SILENCE_MS = 2000
local limit = tonumber(ARGV[8])

local function may_take_for_lost()
  local reaped, spared = unpack(redis.call('HMGET', KEY.turns, 'reaped', 'spared'))
  if reaped and now - reaped > SILENCE_MS then
    spared = now + ARGV[10]
    redis.call('HSET', KEY.turns, 'spared', spared)
  end
  redis.call('HSET', KEY.turns, 'reaped', now)
  return now >= tonumber(spared or 0)
end

local function due(key, in_ms)
  return redis.call('ZRANGE', key, '-inf', now + (in_ms or 0), 'BYSCORE', 'LIMIT', 0, limit)
end

-- One with more requests than the limit stays for the next round.
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
  forget_cache(worker_id)
  redis.call('ZREM', KEY.workers, worker_id)
  no_longer_free(worker_id)
  redis.call('DEL', KEY.worker .. worker_id)
  forget_worker(worker_id)
  revoke_all(worker_id, 'lost')
end

-- A worker that begins a request says so at once.
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
  local markers = redis.call('ZPOPMIN', KEY.cache .. cache, limit)
  for i = 1, #markers, 2 do
    forget_holder(markers[i], cache)
  end
  if #markers < 2 * limit then
    redis.call('SREM', KEY.forgotten, cache)
  end
end

-- A tenant whose last request ends before virtual time stands like one that never came; so do all when a class is idle.
local function clear_tags(rank)
  local tenants, virtual = KEY.tenants[rank + 1], redis.call('HGET', KEY.turns, 'v' .. rank)
  local idle = length(rank) == 0 and redis.call('ZCARD', KEY.running[rank + 1]) == 0
  local past = redis.call('ZRANGE', tenants, '-inf', idle and '+inf' or virtual or 0, 'BYSCORE', 'LIMIT', 0, limit)
  if #past > 0 then
    redis.call('ZREM', tenants, unpack(past))
  end
  if idle and virtual and redis.call('ZCARD', tenants) == 0 then
    redis.call('HDEL', KEY.turns, 'v' .. rank)
  end
end

local sessions, workers, silent, requests = {}, {}, {}, due(KEY.deadlines)
if may_take_for_lost() then
  sessions, workers, silent = due(KEY.sessions), due(KEY.workers), due(KEY.workers, ARGV[9] / 2)
end
for _, session in ipairs(sessions) do
  reap_session(session)
end
for _, worker_id in ipairs(workers) do
  reap_worker(worker_id)
end
for _, worker_id in ipairs(silent) do
  take_unbegun(worker_id)
end
keep_refuge()
-- @include refuge
-- @include room
-- @include suits
-- @policy
-- @include overtake
-- @include hold
-- @include grant
for _, request_id in ipairs(requests) do
  if redis.call('EXISTS', KEY.request .. request_id) == 1 then
    expire(request_id)
  else
    redis.call('ZREM', KEY.deadlines, request_id)
  end
end
clear_forgotten()
grant_ready()
for rank = 0, 3 do
  clear_tags(rank)
  preempt(rank)
end
return { { #sessions, #workers, #requests }, events }
