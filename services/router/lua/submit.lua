#!lua
-- Queues a request and grants whatever can be granted, in exact order.
--
-- Guarantee: one request id is queued once or granted once. The same attempt submitted again changes nothing and is told
-- the state; a higher attempt replaces the lower one. Limits are checked and charged in the same step, once a request.
--
-- ARGV  1 router id   2 ageing of priority   3 of default   4 of flex   5 of batch   6 preempting   7 preemptible
--       8 session id   9 session lease, ms   10 request id   11 attempt   12 rank (0 first)   13 tenant   14 weight
--       15 prompt tokens   16 all tokens, the answer's included   17 give up after, ms   18 objective, ms
--       19 at head (1 or 0)   20 cap on the class's queue   21 cap on its tokens   22 excluded workers (",a,b," or "")
--       23 wanted version or ""   24 adapter or ""   25 markers of the prompt ("hash.tokens hash.tokens")
--       26 worker that already runs it, or ""   27 epoch of that worker   28 grace for a pool without workers, ms
--       29... limits: name, requests a minute, tokens a minute, concurrency; 0 is none
-- Returns {answer, events}; answer is JSON with limits (limit_states) and kind:
--   grant (fields of grant_event) | queued {position, wait_ms} | stale | queue_full {retry_after_ms} | no_workers
--   | limited {limit, retry_after_ms} | expired | revoke {reason}
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
-- @include refuge
-- @include room
-- @include caches
-- @include suits
-- @policy
-- @include hold
local session, lease, request_id, attempt = ARGV[8], ARGV[9], ARGV[10], tonumber(ARGV[11])
local rank, tenant, weight, cost = tonumber(ARGV[12]), ARGV[13], tonumber(ARGV[14]), tonumber(ARGV[16])
local at_head, running_on, running_epoch = ARGV[19] == '1', ARGV[26], ARGV[27]
local limits = parse_limits(29)
local key = KEY.request .. request_id

-- `document`: the reply as it was told already, which it is once more if it has no limits to tell of.
local function answer(reply, document)
  if document and #limits == 0 then
    return { document, events }
  end
  for _, limit in ipairs(limits) do
    if not limit.requests_at then
      weigh(limit, 0)
    end
  end
  if #limits > 0 then
    reply.limits = limit_states(limits)
  end
  return { cjson.encode(reply), events }
end

-- The request as grants see it.
local function own(tag)
  return {
    id = request_id, session = session, attempt = attempt, rank = rank, tenant = tenant, tag = tag, kv = cost,
    prompt = tonumber(ARGV[15]), excluded = ARGV[22], version = ARGV[23], adapter = ARGV[24], markers = ARGV[25],
    submitted = now,
  }
end

-- What is kept of the request; more fields of it, and their values, may follow.
local function write(place, deadline, ...)
  local named = limits_field(limits)
  redis.call('HSET', key, 'session', session, 'attempt', attempt, 'rank', rank, 'tenant', tenant, 'weight', ARGV[14],
    'prompt', ARGV[15], 'cost', cost, 'excluded', ARGV[22], 'version', ARGV[23], 'adapter', ARGV[24], 'markers', ARGV[25],
    'objective', ARGV[18], 'submitted', now, 'granted', now, 'deadline', deadline, 'place', place, 'limits', named, ...)
  redis.call('SADD', KEY.owned .. session, request_id)
  open_limits(named, request_id)
end

-- The answer to a request whose limits are in the way, or nil.
local function limited()
  local limit, retry_after = refusing(limits, cost)
  if limit then
    return { kind = 'limited', limit = limit, retry_after_ms = retry_after }
  end
end

-- The answer to a fresh request that finds a free worker and nobody waiting: it need not stand in line first. Else nil.
local function at_once()
  if anyone_waits() or count_free() == 0 or tonumber(ARGV[17]) <= 0 or tonumber(ARGV[20]) == 0 then
    return nil
  end
  local refused = not at_head and limited()
  if refused then
    return refused
  end
  local request = own(HEAD)
  local worker_id, _, cached = choose(request)
  if not worker_id then
    return nil
  end
  if not at_head then
    charge(limits)
    request.tag = start_tag(rank, tenant, cost, weight)
  end
  request.worker, request.granted, request.cached = worker_id, now, cached
  write(place_in_line(request_id), now + ARGV[17], 'worker', worker_id, 'expected_cached', cached)
  if OVERTAKING > 0 then
    redis.call('HDEL', KEY.turns, 'overtaken' .. rank)
  end
  hold(request_id, rank, worker_id, cost)
  took(request, worker_id, cached)
  refresh_free(worker_id)
  take_turn(rank, request.tag, true)
  local event = grant_event(request)
  return event, emit(event)
end

-- All other requests: they wait, or are known already. What that takes is made only then (granting.lua).
local function submit(known)
  -- @include release
  -- @include overtake
  -- @include granting

  -- The grant of the request, which was granted before.
  local function granted_event()
    local r = redis.call('HMGET', key, 'session', 'attempt', 'rank', 'worker', 'submitted', 'granted', 'expected_cached')
    return grant_event({
      session = r[1], id = request_id, attempt = r[2], rank = r[3], worker = r[4], submitted = r[5], granted = r[6],
      cached = r[7] or '0',
    })
  end

  -- How the request stands; nil when it is gone.
  local function state()
    local rank_now, place, worker = unpack(redis.call('HMGET', key, 'rank', 'place', 'worker'))
    if not rank_now then
      return nil
    end
    if worker then
      return answer(granted_event())
    end
    local position, wait_ms = outlook(tonumber(rank_now), place)
    return answer({ kind = 'queued', position = position, wait_ms = wait_ms })
  end

  -- A gateway reports work that goes on while we had lost it. A worker that we have not heard of yet gets one session lease
  -- to attach.
  local function adopt()
    local epoch = redis.call('HGET', KEY.worker .. running_on, 'epoch')
    if epoch and epoch ~= running_epoch then
      return answer({ kind = 'revoke', reason = 'restarted' })
    end
    if not epoch then
      redis.call('HSET', KEY.worker .. running_on, 'epoch', running_epoch)
      redis.call('ZADD', KEY.workers, now + lease, running_on)
      forget_worker(running_on)
    end
    write('', 0, 'worker', running_on)
    hold(request_id, rank, running_on, cost)
    refresh_free(running_on)
    return answer(granted_event())
  end

  local function enqueue()
    local deadline = now + ARGV[17]
    local place = place_in_line(request_id)
    local tag = at_head and head_tag(place) or start_tag(rank, tenant, cost, weight)
    write(place, deadline)
    join(rank, place, tag, cost)
    redis.call('ZADD', KEY.deadlines, deadline, request_id)
    if not at_head then
      wait_for_cache(place, own(tag))
    end
  end

  -- A Redis that has never seen a worker may just have lost its data: its workers get the same time to report.
  local function has_no_workers()
    if redis.call('ZCARD', KEY.workers) > 0 then
      return false
    end
    redis.call('SET', KEY.seen, now, 'NX')
    return redis.call('GET', KEY.seen) + ARGV[28] < now
  end

  local function is_full(queued, tokens)
    return queued >= tonumber(ARGV[20]) or (queued > 0 and tokens + cost > tonumber(ARGV[21]))
  end

  -- At the present pace, until half of so many have gone.
  local function time_to_half(queued)
    return math.ceil(math.max(1, queued / 2) * (redis.call('HGET', KEY.turns, 'pace') or 0))
  end

  -- A full queue is kept full by whoever floods it. So another tenant's request that would go before the last in line takes
  -- its room, and the last in line is refused in its stead. False when that does not help.
  local function crowd_out(queued, tokens)
    local place, tag = unpack(redis.call('ZRANGE', KEY.queues[rank + 1], -1, -1, 'WITHSCORES'))
    if not place or next_start(rank, tenant) >= tonumber(tag) then
      return false
    end
    local last = of_place(place)
    local its = redis.call('HMGET', KEY.request .. last, 'session', 'attempt', 'tenant', 'cost')
    if its[3] == tenant or is_full(queued - 1, tokens - its[4]) then
      return false
    end
    release(last, 0)
    emit({ kind = 'crowded_out', session = its[1], request = last, attempt = its[2], retry_after_ms = time_to_half(queued) })
    return true
  end

  -- The answer to a fresh request that may not even wait; nil lets it in.
  local function refusal()
    local refused = limited()
    if refused then
      return refused
    end
    local queued, tokens = length(rank), redis.call('HGET', KEY.turns, 'tokens' .. rank) or 0
    if is_full(queued, tokens) and not crowd_out(queued, tokens) then
      return { kind = 'queue_full', retry_after_ms = time_to_half(queued) }
    end
    -- What was crowded out may have given back some of the same limits.
    if is_full(queued, tokens) then
      refusing(limits, cost)
    end
  end

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
  if not at_head then
    local refused = refusal()
    if refused then
      return answer(refused)
    end
  end
  if has_no_workers() then
    return answer({ kind = 'no_workers' })
  end
  if not at_head then
    charge(limits)
  end
  enqueue()
  grant_if_any_wait()
  local reply = state()
  -- Granting also expires; a request given no time at all is gone by now.
  if not reply then
    return answer({ kind = 'expired' })
  end
  if may_preempt(rank) and length(rank) > 0 then
    -- @include preempt
    preempt(rank)
  end
  return reply
end

redis.call('SET', KEY.session .. session, ROUTER)
redis.call('ZADD', KEY.sessions, now + lease, session)

local known = tonumber(redis.call('HGET', key, 'attempt'))
local reply, document
if not known and running_on == '' then
  reply, document = at_once()
end
return reply and answer(reply, document) or submit(known)
