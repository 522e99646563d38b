-- @require clock, class_rules, events, fair_queue, start_tags, release, eligibility, isolation_pool, placement, allocate
-- @require cache_bypass, choice
-- Grants free capacity to queued requests in order: by class, and within a class by start tag. There are two exceptions: a
-- request may bypass the head of its class to reach the worker that has its prompt cached (cache_bypass.lua), and the isolation
-- pool takes the first request that it is not denied to (isolation_pool.lua).
--
-- A class ages when it had no turn of its own for its aging time while others went before it. An aging class gets one turn of
-- AGING_ONE_IN. A request that waits for KV cache holds back all requests after it, so that small requests do not starve large
-- ones. A request that no free worker fits (excluded, other version) is passed over; PASSED_OVER at most in each class.
local PASSED_OVER = 8
local GRANTS = 64
local AGING_ONE_IN = 10

local function expire(request_id)
  local session, attempt = unpack(redis.call('HMGET', KEY.request .. request_id, 'session', 'attempt'))
  release(request_id, 0)
  emit({ kind = 'expired', session = session, request = request_id, attempt = attempt })
end

local function read_request(request_id, tag)
  local r = redis.call('HMGET', KEY.request .. request_id,
    'session', 'cost', 'prompt', 'excluded', 'version', 'adapter', 'markers', 'deadline', 'rank', 'tenant', 'attempt',
    'submitted', 'canary')
  if not r[1] then
    return nil
  end
  return {
    id = request_id, session = r[1], kv = tonumber(r[2]), prompt = tonumber(r[3]), excluded = r[4], version = r[5],
    adapter = r[6], prefix_hashes = r[7], deadline = tonumber(r[8]), rank = tonumber(r[9]), tenant = r[10],
    attempt = r[11], submitted = r[12], canary = r[13] == '1', tag = tonumber(tag),
  }
end

-- `tag`: what virtual time moves to. `own`: false in a turn that the class got because it had aged.
local function grant(rank, place, tag, request, worker_id, cached, own)
  leave(rank, place, request.kv)
  redis.call('ZREM', KEY.deadlines, request.id)
  redis.call('HSET', KEY.request .. request.id, 'worker', worker_id, 'granted', now, 'expected_cached', cached)
  if isolation.active then
    isolation.count_granted(request)
  end
  allocate(request.id, rank, worker_id, request.kv)
  note_grant(request, worker_id, cached)
  refresh_free(worker_id)
  take_turn(rank, tag, own)
  request.worker, request.granted, request.cached = worker_id, now, cached
  emit(grant_event(request))
end

-- Lets one request bypass the head of its class. Returns false when there is none.
local function bypass(head_place, head)
  local rank = head.rank
  local place, tag = first_to_bypass(head_place, head)
  local request = place and read_request(request_at(place), tag)
  if not request then
    return false
  end
  local worker_id, cached, _
  if request.deadline > now then
    worker_id, _, cached = choose(request)
  end
  if not worker_id or cached == 0 then
    stop_waiting_for_worker(rank, place)
    return false
  end
  redis.call('HINCRBY', KEY.fair_queue, 'overtaken' .. rank, 1)
  -- Virtual time moves to just before the head. With the tag of the bypassing request, new requests would start behind all
  -- that wait between the two.
  grant(rank, place, head.tag - 1, request, worker_id, cached, true)
  return true
end

-- Returns the request at a place, or nil after removing one that is gone or past its deadline.
local function read_waiting(rank, place, tag)
  local request = read_request(request_at(place), tag)
  if not request then
    drop(rank, place)
  elseif request.deadline <= now then
    expire(request.id)
  else
    return request
  end
end

-- Looks once at the request that has `passed` requests before it in its class. Returns 'granted', 'gone', 'passed' or 'full'.
local function serve(rank, passed, own)
  local place, tag = unpack(redis.call('ZRANGE', KEY.queues[rank + 1], passed, passed, 'WITHSCORES'))
  local request = read_waiting(rank, place, tag)
  if not request then
    return 'gone'
  end
  local worker_id, reason, cached = choose_by_side(request)
  if worker_id and own and cached == 0 and passed == 0 and may_be_bypassed(request) and bypass(place, request) then
    return 'granted'
  end
  if worker_id then
    if SETTING.overtaking > 0 and passed == 0 then
      redis.call('HDEL', KEY.fair_queue, 'overtaken' .. rank)
    end
    grant(rank, place, request.tag, request, worker_id, cached, own)
    return 'granted'
  end
  return reason == 'unsuitable' and 'passed' or 'full'
end

-- Lets the first request that the isolation pool is open to go there, before those that it is denied to. Virtual time stays:
-- the noisy tenant keeps its claim on the other workers. Returns the same as `serve`, or 'none'.
local function serve_isolation_pool(rank)
  local place, tag = unpack(redis.call('ZRANGE', waiting_for(isolation.ANY, rank), 0, 0, 'WITHSCORES'))
  local request = place and read_waiting(rank, place, tag)
  if not request then
    return place and 'gone' or 'none'
  end
  local worker_id, reason, cached
  if not isolation.denies(request) then
    worker_id, reason, cached = choose(request)
  end
  if reason == 'full' then
    return 'full'
  end
  if not worker_id then
    stop_waiting_for_worker(rank, place)
    return 'gone'
  end
  grant(rank, place, virtual_time(rank), request, worker_id, cached, true)
  return 'granted'
end

-- Returns the class worse than `rank` that has aged longest, or nil.
local function aging_below(rank)
  local oldest, aging
  for worse = rank + 1, 3 do
    local after = aging_ms(worse)
    if after > 0 and length(worse) > 0 then
      local since = tonumber(redis.call('HGET', KEY.fair_queue, 'since' .. worse) or now)
      if since + after <= now and since < (oldest or now) then
        oldest, aging = since, worse
      end
    end
  end
  return aging
end

-- Gives one turn to a class that has requests waiting, or to an aging class in its place.
local function serve_turn(rank, passed)
  local aging = aging_below(rank)
  if aging and tonumber(redis.call('HGET', KEY.fair_queue, 'credit') or 0) >= AGING_ONE_IN - 1 then
    if serve(aging, 0, false) == 'granted' then
      redis.call('HSET', KEY.fair_queue, 'credit', 0)
      return 'granted'
    end
  end
  local result = serve(rank, passed, true)
  if aging and result == 'granted' then
    redis.call('HINCRBY', KEY.fair_queue, 'credit', 1)
  end
  return result
end

-- Returns how many of the `left` looks remain for the next class.
local function grant_class(rank, left)
  local passed = 0
  while passed < PASSED_OVER and left > 0 and length(rank) > passed do
    local result
    if has_eligible_worker(rank, passed) then
      result = serve_turn(rank, passed)
    else
      result = isolation.active and count_free() > 0 and serve_isolation_pool(rank) or 'none'
    end
    left = left - 1
    if result == 'none' then
      return left
    end
    if result == 'full' then
      return 0
    end
    if result == 'passed' then
      passed = passed + 1
    end
  end
  return left
end

local function grant_in_order()
  local left = GRANTS
  for rank = 0, 3 do
    if left > 0 then
      left = grant_class(rank, left)
    end
  end
end
