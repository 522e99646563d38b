-- Who may go before the head of its class: a request that waits for a worker which has its prompt cached, when that worker
-- has a slot now and nothing of the head's prompt is cached on any that has. A full fleet has one free slot at a time, so
-- without this every request would go to whichever worker comes first, and caches would be of no use when they matter most.
--
-- One head is overtaken OVERTAKING times at most (0: never, order is exact), by requests whose tags are NEAR tokens after its
-- own at most; so tenants' shares hold to within NEAR. Work that had its turn already is never overtaken, nor is a tenant of
-- whom less than BACKLOG tokens wait: it has not made the queue, and another one's flood must not delay it.
local NEAR = 32768
local FREE_LOOKED_AT = 4

local function wish_of(request)
  if refuge.needed and not refuge.keeps_out(request) then
    kept_for(request) -- which notes that slots are to be kept for such
    return refuge.ANY
  end
  if OVERTAKING > 0 and count_free() == 0 and length(request.rank) > 1 and not kept_for(request) then
    return wish(request)
  end
end

local function wait_for_cache(place, request)
  local worker_id = wish_of(request)
  if worker_id then
    redis.call('HSET', KEY.request .. request.id, 'wants', worker_id)
    redis.call('ZADD', wanted(worker_id, request.rank), request.tag, place)
  end
end

local function may_be_overtaken(head)
  return OVERTAKING > 0 and head.tag >= 0 and length(head.rank) > 1 and has_backlog(head.rank, head.tenant, head.tag)
    and tonumber(redis.call('HGET', KEY.turns, 'overtaken' .. head.rank) or 0) < OVERTAKING
end

-- The first of those that wait for a worker which is free now: its place and tag, or nil.
local function nearest(head_place, head)
  local nearest_place, nearest_tag
  for _, worker_id in ipairs(workers_for(head, FREE_LOOKED_AT)) do
    local place, tag = unpack(redis.call('ZRANGE', wanted(worker_id, head.rank), 0, 0, 'WITHSCORES'))
    tag = tonumber(tag)
    if place and place ~= head_place and tag <= head.tag + NEAR and tag < (nearest_tag or math.huge) then
      nearest_place, nearest_tag = place, tag
    end
  end
  return nearest_place, nearest_tag
end
