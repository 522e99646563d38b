#!lua
-- @require submission, immediate_grant, fair_queue, start_tags, isolation_pool, allocate, workers, worker_capacity
-- @require class_rules
-- Queues a request, and grants everything that can be granted, in exact order.
--
-- Guarantee: a request id is queued once or granted once. The same attempt submitted again changes nothing and is told the
-- state. A higher attempt replaces a lower one. Limits are checked and charged in the same step, once a request.
--
-- Returns {answer, events}. The answer is JSON. It has `limits` (limit_states) if the request has limits, and a kind:
--   grant (fields of grant_event) | queued {position, wait_ms} | stale | queue_full {retry_after_ms} | no_workers
--   | limited {limit, retry_after_ms} | expired | revoke {reason}

-- Handles every request that is not granted at once: it is known already, or it has to be queued. The functions that this takes
-- are made only then (grant_waiting.lua).
local function submit_to_queue(known)
  -- @load release, admission, queue_position, cache_bypass, grant_waiting
  check_isolation()

  -- Returns the grant of the request, which was granted before.
  local function former_grant()
    local r = redis.call('HMGET', key, 'session', 'attempt', 'rank', 'worker', 'submitted', 'granted', 'expected_cached')
    return grant_event({
      session = r[1], id = request_id, attempt = r[2], rank = r[3], worker = r[4], submitted = r[5], granted = r[6],
      cached = r[7] or '0',
    })
  end

  -- Returns the answer that tells the state of the request, or nil when it is gone.
  local function state()
    local rank_now, place, worker = unpack(redis.call('HMGET', key, 'rank', 'place', 'worker'))
    if not rank_now then
      return nil
    end
    if worker then
      return answer(former_grant())
    end
    local position, wait_ms = queue_position(tonumber(rank_now), place)
    return answer({ kind = 'queued', position = position, wait_ms = wait_ms })
  end

  -- Takes over a request that a worker runs while this Redis had lost it. A worker that was not heard of yet gets one session
  -- lease to attach.
  local function adopt()
    local epoch = redis.call('HGET', KEY.worker .. running_on, 'epoch')
    if epoch and epoch ~= ARG.running_epoch then
      return answer({ kind = 'revoke', reason = 'restarted' })
    end
    if not epoch then
      redis.call('HSET', KEY.worker .. running_on, 'epoch', ARG.running_epoch)
      redis.call('ZADD', KEY.workers, now + ARG.session_lease_ms, running_on)
      forget_worker(running_on)
    end
    store_request('', 0, 'worker', running_on)
    allocate(request_id, rank, running_on, cost)
    refresh_free(running_on)
    return answer(former_grant())
  end

  local function enqueue()
    local deadline = now + ARG.give_up_after_ms
    local place = place_in_line(request_id)
    local tag = at_head and head_tag(place) or start_tag(rank, tenant, cost, weight)
    store_request(place, deadline)
    join(rank, place, tag, cost)
    redis.call('ZADD', KEY.deadlines, deadline, request_id)
    if not at_head then
      wait_for_cache(place, request_with_tag(tag))
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
  grant_waiting()
  local reply = state()
  -- Granting also removes requests past their deadline. A request that was given no time is gone by now.
  if not reply then
    return answer({ kind = 'expired' })
  end
  if may_preempt(rank) and length(rank) > 0 then
    -- @load preempt
    preempt(rank)
  end
  return reply
end

read_clock()
redis.call('SET', KEY.session .. session, ARG.router)
redis.call('ZADD', KEY.sessions, now + ARG.session_lease_ms, session)

local known = tonumber(redis.call('HGET', key, 'attempt'))
local reply, document
if not known and running_on == '' then
  reply, document = grant_immediately()
end
return reply and answer(reply, document) or submit_to_queue(known)
