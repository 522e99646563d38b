-- Which of the workers that have room (free.lua) a request may have: what it gets of kept slots, and of the refuge.

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

local function first_of(key, request, limit)
  return refuge.needed and refuge.first_of(key, request, limit) or redis.call('ZRANGE', key, 0, limit - 1)
end

-- Whether any worker has a slot for the request that `passed` others precede in its class.
local function has_room(rank, passed)
  if not refuge.needed and (count_free() > 0 or redis.call('EXISTS', KEY.kept) == 0) then
    return count_free() > 0
  end
  local place, tag = unpack(redis.call('ZRANGE', KEY.queues[rank + 1], passed, passed, 'WITHSCORES'))
  local tenant = redis.call('HGET', KEY.request .. of_place(place), 'tenant')
  local request = { rank = rank, tenant = tenant or '', tag = tonumber(tag) }
  return #first_of(KEY.free, request, 1) > 0 or (#first_of(KEY.kept, request, 1) > 0 and kept_for(request))
end

local function is_free_for(request, worker_id)
  if redis.call('ZSCORE', KEY.free, worker_id) then
    return true
  end
  local share = redis.call('ZSCORE', KEY.kept, worker_id) and kept_for(request)
  return share == 'all' or (share == 'fair' and has_fair_slot(worker_id))
end

local function workers_for(request, limit)
  local found = first_of(KEY.free, request, limit)
  local kept = #found < limit and first_of(KEY.kept, request, limit - #found) or {}
  local share = #kept > 0 and kept_for(request)
  for _, worker_id in ipairs(share and kept or {}) do
    if share == 'all' or has_fair_slot(worker_id) then
      found[#found + 1] = worker_id
    end
  end
  return found
end
