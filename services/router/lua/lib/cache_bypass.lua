-- @require clock, fair_queue, start_tags, free_workers, eligibility, isolation_pool, placement
-- Cache bypass: a request may go before the head of its class, to the worker that has its prompt cached, when that worker has a
-- slot now and no worker with a free slot has the head's prompt cached. A full fleet has one free slot at a time. Without the
-- bypass every request would go to the worker that has a slot first, and caches would not help when they matter most.
--
-- One head is bypassed `overtaking` times at most (a setting of the pool; 0: never, order is exact), by requests whose tags are
-- at most NEAR tokens after its own. So tenants' shares hold to within NEAR. Work that had its turn before is never bypassed.
-- Nor is a tenant of whom less than BACKLOG tokens wait: it did not cause the queue, and a noisy tenant must not delay it.
local NEAR = 32768
local FREE_LOOKED_AT = 4

-- The worker that a request waits for beside its place in line, or nil.
local function worker_to_wait_for(request)
  if isolation.active and not isolation.denies(request) then
    reserved_share(request) -- it notes that slots are to be reserved for such requests
    return isolation.ANY
  end
  if SETTING.overtaking > 0 and count_free() == 0 and length(request.rank) > 1 and not reserved_share(request) then
    return preferred_worker(request)
  end
end

local function wait_for_cache(place, request)
  local worker_id = worker_to_wait_for(request)
  if worker_id then
    redis.call('HSET', KEY.request .. request.id, 'wants', worker_id)
    redis.call('ZADD', waiting_for(worker_id, request.rank), request.tag, place)
  end
end

local function may_be_bypassed(head)
  return SETTING.overtaking > 0 and head.tag >= 0 and length(head.rank) > 1 and has_backlog(head.rank, head.tenant, head.tag)
    and tonumber(redis.call('HGET', KEY.fair_queue, 'overtaken' .. head.rank) or 0) < SETTING.overtaking
end

-- Of the requests that wait for a worker which is free now, the place and tag of the first; or nil.
local function first_to_bypass(head_place, head)
  local first_place, first_tag
  for _, worker_id in ipairs(eligible_workers(head, FREE_LOOKED_AT)) do
    local place, tag = unpack(redis.call('ZRANGE', waiting_for(worker_id, head.rank), 0, 0, 'WITHSCORES'))
    tag = tonumber(tag)
    if place and place ~= head_place and tag <= head.tag + NEAR and tag < (first_tag or math.huge) then
      first_place, first_tag = place, tag
    end
  end
  return first_place, first_tag
end
