#!lua flags=allow-oom
-- Clears away what time has ended: lapsed sessions, lost workers, requests past their deadline, markers of caches that are
-- no more, tags of tenants that have had their turns. Then grants, and makes room for what would be late. What a worker
-- was granted since it was last heard of, half its lease ago, it has never begun: that need not wait for all of its lease.
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
-- @include free
-- @include caches
-- @include release
-- @include suits
-- @policy
-- @include overtake
-- @include grant
-- @include revoke
-- @include preempt
local SILENCE_MS = 2000
local limit = tonumber(ARGV[8])

local function may_take_for_lost()
  local reaped, spared = unpack(redis.call('HMGET', TURNS, 'reaped', 'spared'))
  if reaped and now - reaped > SILENCE_MS then
    spared = now + ARGV[10]
    redis.call('HSET', TURNS, 'spared', spared)
  end
  redis.call('HSET', TURNS, 'reaped', now)
  return now >= tonumber(spared or 0)
end

local function due(key, in_ms)
  return redis.call('ZRANGE', key, '-inf', now + (in_ms or 0), 'BYSCORE', 'LIMIT', 0, limit)
end

-- One with more requests than the limit stays for the next round.
local function reap_session(session)
  for _, request_id in ipairs(redis.call('SRANDMEMBER', OWNED .. session, limit)) do
    if not release(request_id) then
      redis.call('SREM', OWNED .. session, request_id)
    end
  end
  if redis.call('SCARD', OWNED .. session) == 0 then
    redis.call('DEL', SESSION .. session)
    redis.call('ZREM', SESSIONS, session)
  end
end

local function reap_worker(worker_id)
  count_slots(worker_id, 0)
  forget_cache(worker_id)
  redis.call('ZREM', WORKERS, worker_id)
  no_longer_free(worker_id)
  redis.call('DEL', WORKER .. worker_id)
  revoke_all(worker_id, 'lost')
end

-- A worker that begins a request says so at once.
local function take_unbegun(worker_id)
  local beat, quiet = unpack(redis.call('HMGET', WORKER .. worker_id, 'beat_ms', 'quiet_ms'))
  if now < tonumber(quiet or math.huge) then
    return
  end
  for _, request_id in ipairs(redis.call('SMEMBERS', HELD .. worker_id)) do
    if tonumber(redis.call('HGET', REQUEST .. request_id, 'granted') or 0) >= tonumber(beat) then
      revoke(request_id, 'lost')
    end
  end
end

local function clear_forgotten()
  local cache = redis.call('SRANDMEMBER', FORGOTTEN)
  if not cache then
    return
  end
  local markers = redis.call('ZPOPMIN', CACHE .. cache, limit)
  for i = 1, #markers, 2 do
    forget_holder(markers[i], cache)
  end
  if #markers < 2 * limit then
    redis.call('SREM', FORGOTTEN, cache)
  end
end

-- A tenant whose last request ends before virtual time stands like one that never came; so do all when a class is idle.
local function clear_tags(rank)
  local tenants, virtual = TENANTS[rank + 1], redis.call('HGET', TURNS, 'v' .. rank)
  local idle = length(rank) == 0 and redis.call('ZCARD', RUNNING[rank + 1]) == 0
  local past = redis.call('ZRANGE', tenants, '-inf', idle and '+inf' or virtual or 0, 'BYSCORE', 'LIMIT', 0, limit)
  if #past > 0 then
    redis.call('ZREM', tenants, unpack(past))
  end
  if idle and virtual and redis.call('ZCARD', tenants) == 0 then
    redis.call('HDEL', TURNS, 'v' .. rank)
  end
end

local sessions, workers, silent, requests = {}, {}, {}, due(DEADLINES)
if may_take_for_lost() then
  sessions, workers, silent = due(SESSIONS), due(WORKERS), due(WORKERS, ARGV[9] / 2)
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
for _, request_id in ipairs(requests) do
  if redis.call('EXISTS', REQUEST .. request_id) == 1 then
    expire(request_id)
  else
    redis.call('ZREM', DEADLINES, request_id)
  end
end
clear_forgotten()
grant_ready()
for rank = 0, 3 do
  clear_tags(rank)
  preempt(rank)
end
return { { #sessions, #workers, #requests }, events }
