-- Grants free capacity to queued requests in order: by class, within a class by turn (turns.lua), but for what may go before
-- its turn to where its prompt is cached (overtake.lua), or to the refuge (refuge.lua).
--
-- A class that had no turn of its own for its ageing time, while others went before it, is aged: of every AGED_ONE_IN turns
-- one is given to an aged class. A request that waits for KV cache holds back all that come after it, so that large requests
-- are not starved by small ones. A request that no free worker suits (excluded, other version) is passed over, PASSED_OVER
-- of them at most in each class.
local PASSED_OVER = 8
local GRANTS = 64
local AGED_ONE_IN = 10
local granted = {} -- by request id: the grants of this call

local function expire(request_id)
  local session, attempt = unpack(redis.call('HMGET', KEY.request .. request_id, 'session', 'attempt'))
  release(request_id, 0)
  emit({ kind = 'expired', session = session, request = request_id, attempt = attempt })
end

local function read(request_id, tag)
  local r = redis.call('HMGET', KEY.request .. request_id,
    'session', 'cost', 'prompt', 'excluded', 'version', 'adapter', 'markers', 'deadline', 'rank', 'tenant', 'attempt',
    'submitted')
  if not r[1] then
    return nil
  end
  return {
    id = request_id, session = r[1], kv = tonumber(r[2]), prompt = tonumber(r[3]), excluded = r[4], version = r[5],
    adapter = r[6], markers = r[7], deadline = tonumber(r[8]), rank = tonumber(r[9]), tenant = r[10],
    attempt = r[11], submitted = r[12], tag = tonumber(tag),
  }
end

local function grant(rank, place, tag, request, worker_id, cached, own)
  leave(rank, place, request.kv)
  redis.call('ZREM', KEY.deadlines, request.id)
  redis.call('HSET', KEY.request .. request.id, 'worker', worker_id, 'granted', now, 'expected_cached', cached)
  if refuge.needed then
    refuge.count(request)
  end
  hold(request.id, rank, worker_id, request.kv)
  took(request, worker_id, cached)
  refresh_free(worker_id)
  take_turn(rank, tag, own)
  request.worker, request.granted, request.cached = worker_id, now, cached
  granted[request.id] = grant_event(request)
  emit(granted[request.id])
end

-- Lets one go before the head of its class to where its prompt is cached. False when there is none.
local function overtake(head_place, head)
  local rank = head.rank
  local place, tag = nearest(head_place, head)
  local request = place and read(of_place(place), tag)
  if not request then
    return false
  end
  local worker_id, cached, _
  if request.deadline > now then
    worker_id, _, cached = choose(request)
  end
  if not worker_id or cached == 0 then
    no_longer_wait(rank, place)
    return false
  end
  redis.call('HINCRBY', KEY.turns, 'overtaken' .. rank, 1)
  -- Virtual time goes on to just before the head: by this one's tag, those that come now would start behind all between.
  grant(rank, place, head.tag - 1, request, worker_id, cached, true)
  return true
end

-- Gives up those that are gone or late.
local function read_waiting(rank, place, tag)
  local request = read(of_place(place), tag)
  if not request then
    drop(rank, place)
  elseif request.deadline <= now then
    expire(request.id)
  else
    return request
  end
end

-- One look at the request that `passed` others precede in its class. Returns 'granted', 'gone', 'passed' or 'full'.
local function serve(rank, passed, own)
  local place, tag = unpack(redis.call('ZRANGE', KEY.queues[rank + 1], passed, passed, 'WITHSCORES'))
  local request = read_waiting(rank, place, tag)
  if not request then
    return 'gone'
  end
  local worker_id, reason, cached = choose(request)
  if worker_id and own and cached == 0 and passed == 0 and may_be_overtaken(request) and overtake(place, request) then
    return 'granted'
  end
  if worker_id then
    if OVERTAKING > 0 and passed == 0 then
      redis.call('HDEL', KEY.turns, 'overtaken' .. rank)
    end
    grant(rank, place, request.tag, request, worker_id, cached, own)
    return 'granted'
  end
  return reason == 'unsuited' and 'passed' or 'full'
end

-- The first that is not of a flood goes to the refuge, before those that are kept out of it. Virtual time stays: by the
-- others' tags, what the flood is due of the rest would be forgotten. Returns as `serve`, or 'none'.
local function serve_refuge(rank)
  local place, tag = unpack(redis.call('ZRANGE', wanted(refuge.ANY, rank), 0, 0, 'WITHSCORES'))
  local request = place and read_waiting(rank, place, tag)
  if not request then
    return place and 'gone' or 'none'
  end
  local worker_id, reason, cached
  if not refuge.keeps_out(request) then
    worker_id, reason, cached = choose(request)
  end
  if reason == 'full' then
    return 'full'
  end
  if not worker_id then
    no_longer_wait(rank, place)
    return 'gone'
  end
  grant(rank, place, virtual_time(rank), request, worker_id, cached, true)
  return 'granted'
end

-- The class, worse than `rank`, that has been aged for longest; or nil.
local function aged_below(rank)
  local oldest, aged
  for worse = rank + 1, 3 do
    if AGEING_MS[worse + 1] > 0 and length(worse) > 0 then
      local since = tonumber(redis.call('HGET', KEY.turns, 'since' .. worse) or now)
      if since + AGEING_MS[worse + 1] <= now and since < (oldest or now) then
        oldest, aged = since, worse
      end
    end
  end
  return aged
end

-- One turn of a class that has requests waiting, or of an aged one in its place.
local function turn(rank, passed)
  local aged = aged_below(rank)
  if aged and tonumber(redis.call('HGET', KEY.turns, 'credit') or 0) >= AGED_ONE_IN - 1 then
    if serve(aged, 0, false) == 'granted' then
      redis.call('HSET', KEY.turns, 'credit', 0)
      return 'granted'
    end
  end
  local result = serve(rank, passed, true)
  if aged and result == 'granted' then
    redis.call('HINCRBY', KEY.turns, 'credit', 1)
  end
  return result
end

local function grant_class(rank, left)
  local passed = 0
  while passed < PASSED_OVER and left > 0 and length(rank) > passed do
    local result
    if has_room(rank, passed) then
      result = turn(rank, passed)
    else
      result = refuge.needed and count_free() > 0 and serve_refuge(rank) or 'none'
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

local function grant_ready()
  local left = GRANTS
  for rank = 0, 3 do
    if left > 0 then
      left = grant_class(rank, left)
    end
  end
end
