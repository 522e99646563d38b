-- @require clock, class_rules, fair_queue, start_tags, worker_capacity, isolation_pool
-- Which free workers a request may have: whether it may take a reserved slot (reserved_slots.lua), and whether the isolation
-- pool is open to it.

local function is_better_waiting(rank)
  for better = 1, rank do
    if length(better - 1) > 0 then
      return true
    end
  end
  return false
end

-- Whether requests of a tenant wait for its share, in a class that other tenants use too.
local function is_contended(rank)
  if length(rank) == 0 or redis.call('ZCARD', KEY.tenants[rank + 1]) < 2 then
    return false
  end
  return tonumber(redis.call('ZRANGE', KEY.queues[rank + 1], -1, -1, 'WITHSCORES')[2]) > virtual_time(rank)
end

-- Whether a request (its rank, tenant and tag) is of a tenant within its share while others wait for theirs. If it is, slots
-- are reserved for such requests from now on.
local function is_fair(request)
  local rank = request.rank
  if not is_contended(rank) or request.tag > virtual_time(rank) or has_backlog(rank, request.tenant, request.tag)
    or is_better_waiting(rank)
  then
    return false
  end
  redis.call('HSET', KEY.fair_queue, 'fair' .. rank, now)
  return true
end

-- Which reserved slots a request may take: 'all', 'fair' (those that are not for urgent work), or nil (none).
local function reserved_share(request)
  return may_preempt(request.rank) and 'all' or (is_fair(request) and 'fair') or nil
end

local function has_fair_slot(worker_id)
  local _, left, slots = load_of(worker_id)
  return left and left > (slots_reserved(slots))
end

local function first_workers(key, request, limit)
  return isolation.active and isolation.first_workers(key, request, limit) or redis.call('ZRANGE', key, 0, limit - 1)
end

-- Whether any worker has a slot for the request that has `passed` requests before it in its class.
local function has_eligible_worker(rank, passed)
  if not isolation.active and (count_free() > 0 or redis.call('EXISTS', KEY.reserved) == 0) then
    return count_free() > 0
  end
  local place, tag = unpack(redis.call('ZRANGE', KEY.queues[rank + 1], passed, passed, 'WITHSCORES'))
  local tenant = redis.call('HGET', KEY.request .. request_at(place), 'tenant')
  local request = { rank = rank, tenant = tenant or '', tag = tonumber(tag) }
  return #first_workers(KEY.free, request, 1) > 0
    or (#first_workers(KEY.reserved, request, 1) > 0 and reserved_share(request))
end

local function is_eligible(request, worker_id)
  if redis.call('ZSCORE', KEY.free, worker_id) then
    return true
  end
  local share = redis.call('ZSCORE', KEY.reserved, worker_id) and reserved_share(request)
  return share == 'all' or (share == 'fair' and has_fair_slot(worker_id))
end

-- The first workers that have a slot for a request, `limit` at most, in the order of the placement policy.
local function eligible_workers(request, limit)
  local found = first_workers(KEY.free, request, limit)
  local reserved_ones = #found < limit and first_workers(KEY.reserved, request, limit - #found) or {}
  local share = #reserved_ones > 0 and reserved_share(request)
  for _, worker_id in ipairs(share and reserved_ones or {}) do
    if share == 'all' or has_fair_slot(worker_id) then
      found[#found + 1] = worker_id
    end
  end
  return found
end
