-- @require clock, submission, fair_queue, start_tags, release
-- Whether a fresh request may enter the queue of its class.

local function is_full(queued, tokens)
  return queued >= tonumber(ARG.max_queued) or (queued > 0 and tokens + cost > tonumber(ARG.max_queued_tokens))
end

-- Returns the time (ms) in which half of so many requests go, at the present pace.
local function time_to_half(queued)
  return math.ceil(math.max(1, queued / 2) * (redis.call('HGET', KEY.fair_queue, 'pace') or 0))
end

-- Displaces the last request of a full queue. A noisy tenant keeps a full queue full. So a request of another tenant that would
-- go before the last one takes its place, and the last one is refused. Returns false when that does not help.
local function displace(queued, tokens)
  local place, tag = unpack(redis.call('ZRANGE', KEY.queues[rank + 1], -1, -1, 'WITHSCORES'))
  if not place or next_start(rank, tenant) >= tonumber(tag) then
    return false
  end
  local last = request_at(place)
  local displaced = redis.call('HMGET', KEY.request .. last, 'session', 'attempt', 'tenant', 'cost')
  if displaced[3] == tenant or is_full(queued - 1, tokens - displaced[4]) then
    return false
  end
  release(last, 0)
  emit({
    kind = 'crowded_out', session = displaced[1], request = last, attempt = displaced[2],
    retry_after_ms = time_to_half(queued),
  })
  return true
end

-- Returns the answer to a fresh request that may not wait; nil lets it in.
local function refusal()
  local refused = refused_by_limit()
  if refused then
    return refused
  end
  local queued, tokens = length(rank), redis.call('HGET', KEY.fair_queue, 'tokens' .. rank) or 0
  if is_full(queued, tokens) and not displace(queued, tokens) then
    return { kind = 'queue_full', retry_after_ms = time_to_half(queued) }
  end
  -- The displaced request may have given back some of the same limits, so they are weighed again.
  if is_full(queued, tokens) then
    refusing(limits, cost)
  end
end

-- Whether the pool has had no worker for longer than the grace. A Redis that never saw a worker may just have lost its data:
-- its workers get the same time to report.
local function has_no_workers()
  if redis.call('ZCARD', KEY.workers) > 0 then
    return false
  end
  redis.call('SET', KEY.seen, now, 'NX')
  return redis.call('GET', KEY.seen) + ARG.no_worker_grace_ms < now
end
