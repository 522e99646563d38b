-- Queues a request and grants whatever can be granted, in exact order.
--
-- Guarantee: one request id is queued once or granted once. The same attempt submitted again changes nothing and is told
-- the state; a higher attempt replaces the lower one.
--
-- ARGV  1 router id        2 session id   3 session lease, ms   4 request id        5 attempt
--       6 rank (0 first)   7 KV tokens    8 give up after, ms   9 at head (1 or 0)  10 cap on the class's queue
--       11 excluded workers (",a,b," or "")   12 wanted version or ""
--       13 worker that already runs it, or ""   14 epoch of that worker   15 grace for a pool without workers, ms
-- Returns {answer, events}; answer is JSON with kind:
--   grant (fields of grant_event) | queued {position} | stale | queue_full | no_workers | revoke {reason}
local ROUTER = ARGV[1]
-- @include keys
-- @include now
-- @include events
-- @include free
-- @include release
-- @include place
-- @include grant
local session, request_id, attempt = ARGV[2], ARGV[4], tonumber(ARGV[5])
local rank, kv, excluded, version = tonumber(ARGV[6]), tonumber(ARGV[7]), ARGV[11], ARGV[12]
local running_on, running_epoch = ARGV[13], ARGV[14]
local key, queue = REQUEST .. request_id, QUEUES[rank + 1]

-- Far below every arrival number, so that resumed work precedes fresh work and keeps its own order.
local HEAD = -4503599627370496

local function position()
  local before = redis.call('ZRANK', queue, request_id)
  for higher = 1, rank do
    before = before + redis.call('ZCARD', QUEUES[higher])
  end
  return before
end

local function answer(reply)
  return { cjson.encode(reply), events }
end

local function state()
  if redis.call('HEXISTS', key, 'worker') == 1 then
    return answer(grant_event(request_id))
  end
  return answer({ kind = 'queued', position = position() })
end

local function write(deadline)
  redis.call('HSET', key, 'session', session, 'attempt', attempt, 'rank', rank, 'kv', kv, 'excluded', excluded,
    'version', version, 'submitted', now, 'granted', now, 'deadline', deadline)
  redis.call('SADD', OWNED .. session, request_id)
end

-- A gateway reports work that goes on while we had lost it. A worker that we have not heard of yet gets one session lease
-- to attach.
local function adopt()
  local epoch = redis.call('HGET', WORKER .. running_on, 'epoch')
  if epoch and epoch ~= running_epoch then
    return answer({ kind = 'revoke', reason = 'restarted' })
  end
  write(0)
  hold(request_id, running_on, kv)
  if epoch then
    refresh_free(running_on)
  else
    redis.call('ZADD', WORKERS, 'NX', now + ARGV[3], running_on)
  end
  return answer(grant_event(request_id))
end

local function enqueue()
  local deadline = now + ARGV[8]
  local order = redis.call('INCR', ARRIVALS)
  write(deadline)
  redis.call('ZADD', queue, ARGV[9] == '1' and HEAD + order or order, request_id)
  redis.call('ZADD', DEADLINES, deadline, request_id)
end

-- A Redis that has never seen a worker may just have lost its data: its workers get the same time to report.
local function has_no_workers()
  redis.call('SET', SEEN, now, 'NX')
  return redis.call('ZCARD', WORKERS) == 0 and redis.call('GET', SEEN) + ARGV[15] < now
end

redis.call('SET', SESSION .. session, ROUTER)
redis.call('ZADD', SESSIONS, now + ARGV[3], session)

local known = tonumber(redis.call('HGET', key, 'attempt'))
if known == attempt then
  return state()
end
if known and known > attempt then
  return answer({ kind = 'stale' })
end
if known then
  release(request_id)
end
if running_on ~= '' then
  return adopt()
end
if ARGV[9] == '0' and redis.call('ZCARD', queue) >= tonumber(ARGV[10]) then
  return answer({ kind = 'queue_full' })
end
if has_no_workers() then
  return answer({ kind = 'no_workers' })
end
enqueue()
grant_ready()
-- Granting also expires; a request given no time at all is gone by now.
if redis.call('EXISTS', key) == 0 then
  return answer({ kind = 'expired' })
end
return state()
