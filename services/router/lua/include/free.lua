-- What a worker has room for. KEY.free holds those that take one more request, in the order in which the policy looks at them.
--
-- Of each worker one slot of ONE_KEPT_OF is kept for each of these, while there is such work:
--   urgent: requests of classes that may preempt. They find a slot at once, wherever their prompt is cached, although the
--   fleet is full.
--   fair: requests of tenants within their share (turns.lua), while others of their class wait for theirs and no better
--   class waits. One tenant's flood takes from the others neither slots nor the workers that have their prompts cached.
-- A worker that has no others free is in KEY.kept instead of KEY.free. What is taken of them is given back by the next that ends.
local ONE_KEPT_OF = 16
local FAIR_FOR_MS = 1000 -- for which there is fair work after the last

-- Share of slots or of KV cache in use, whichever is larger. The cache is charged with the larger of what was estimated for
-- the requests granted and what the engine last reported.
local function load_of(worker_id)
  local w = worker_of(worker_id)
  if w.state ~= 'ready' or w.held >= w.slots or (w.pressed and w.held > 0) then
    return nil
  end
  return math.max(w.held / w.slots, math.max(w.reserved, w.used) / w.kv_tokens), w.slots - w.held, w.slots
end

-- Workers in KEY.free: asked for once a call, then kept in step.
local free_workers

local function count_free()
  free_workers = free_workers or redis.call('ZCARD', KEY.free)
  return free_workers
end

local function no_longer_free(worker_id)
  free_workers = count_free() - redis.call('ZREM', KEY.free, worker_id)
  redis.call('ZREM', KEY.kept, worker_id)
end

local function is_urgent(rank)
  return may_preempt(rank) and (length(rank) > 0 or redis.call('ZCARD', KEY.running[rank + 1]) > 0)
end

local function had_fair_work(rank)
  return length(rank) > 0 and (redis.call('HGET', KEY.turns, 'fair' .. rank) or -FAIR_FOR_MS) + FAIR_FOR_MS > now
end

local kept -- shares of slots for urgent and fair work; found once a call

local function slots_kept(slots)
  if not kept then
    kept = { urgent = 0, fair = 0 }
    for rank = 0, 3 do
      kept.urgent = is_urgent(rank) and 1 or kept.urgent
      kept.fair = had_fair_work(rank) and 1 or kept.fair
    end
  end
  local each = math.floor(slots / ONE_KEPT_OF)
  return kept.urgent * each, kept.fair * each
end

local function refresh_free(worker_id)
  local load, left, slots = load_of(worker_id)
  if not load then
    no_longer_free(worker_id)
    return
  end
  local urgent, fair = slots_kept(slots)
  if left > urgent + fair then
    redis.call('ZREM', KEY.kept, worker_id)
    free_workers = count_free() + redis.call('ZADD', KEY.free, order_of(worker_id, load), worker_id)
  else
    no_longer_free(worker_id)
    redis.call('ZADD', KEY.kept, order_of(worker_id, load), worker_id)
  end
end

local function is_better_waiting(rank)
  for better = 1, rank do
    if length(better - 1) > 0 then
      return true
    end
  end
  return false
end

-- Whether requests of a tenant wait for its share in a class that others use too.
local function is_contended(rank)
  if length(rank) == 0 or redis.call('ZCARD', KEY.tenants[rank + 1]) < 2 then
    return false
  end
  return tonumber(redis.call('ZRANGE', KEY.queues[rank + 1], -1, -1, 'WITHSCORES')[2]) > virtual_time(rank)
end

-- Whether a request (its rank, tenant and tag) is of a tenant within its share while others wait for theirs. Noted: slots
-- are kept for such from then on.
local function is_fair(request)
  local rank = request.rank
  if not is_contended(rank) or request.tag > virtual_time(rank) or has_backlog(rank, request.tenant, request.tag)
    or is_better_waiting(rank)
  then
    return false
  end
  redis.call('HSET', KEY.turns, 'fair' .. rank, now)
  return true
end

-- The kept slots that a request may have: 'all', or those that are not for urgent work, or nil.
local function kept_for(request)
  return may_preempt(request.rank) and 'all' or (is_fair(request) and 'fair') or nil
end

local function has_fair_slot(worker_id)
  local _, left, slots = load_of(worker_id)
  return left and left > (slots_kept(slots))
end

-- Whether any worker has a slot for the request that `passed` others precede in its class.
local function has_room(rank, passed)
  if count_free() > 0 or redis.call('EXISTS', KEY.kept) == 0 then
    return count_free() > 0
  end
  local place, tag = unpack(redis.call('ZRANGE', KEY.queues[rank + 1], passed, passed, 'WITHSCORES'))
  local tenant = redis.call('HGET', KEY.request .. of_place(place), 'tenant')
  return kept_for({ rank = rank, tenant = tenant or '', tag = tonumber(tag) })
end

local function is_free_for(request, worker_id)
  if redis.call('ZSCORE', KEY.free, worker_id) then
    return true
  end
  local share = redis.call('ZSCORE', KEY.kept, worker_id) and kept_for(request)
  return share == 'all' or (share == 'fair' and has_fair_slot(worker_id))
end

local function workers_for(request, limit)
  local found = redis.call('ZRANGE', KEY.free, 0, limit - 1)
  local kept = #found < limit and redis.call('ZRANGE', KEY.kept, 0, limit - #found - 1) or {}
  local share = #kept > 0 and kept_for(request)
  for _, worker_id in ipairs(share and kept or {}) do
    if share == 'all' or has_fair_slot(worker_id) then
      found[#found + 1] = worker_id
    end
  end
  return found
end

-- Keeps the sum of the slots of ready workers, by which mean load is known.
local function count_slots(worker_id, slots)
  local counted = redis.call('HGET', KEY.worker .. worker_id, 'counted') or 0
  if tonumber(counted) ~= slots then
    redis.call('HINCRBY', KEY.turns, 'slots', slots - counted)
    redis.call('HSET', KEY.worker .. worker_id, 'counted', slots)
  end
end
