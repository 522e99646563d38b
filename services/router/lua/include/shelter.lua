-- Keeps the refuge (refuge.lua): notes who floods, and makes it as large as the others need it.
--
-- A tenant floods while it makes the queue of a class: BACKLOG tokens of it wait beyond its burst, and OF_THE_QUEUE of all
-- that waits there. Where many make the queue together, nobody floods. Nor does anybody in classes that may be made to
-- yield: those are to fill what is left. The refuge has as many workers as the requests within their tenants' share fill to
-- ISOLATION, by the slots that they had of late: none where that is too little for one. One worker at least stays open.
local OF_THE_QUEUE = 0.25
local FLOODS = 8 -- tenants of one class
local OF_LATE_MS = 10000
local SLACK = 1 -- workers that it may be too large by

local function flooding_tenants()
  local found = {}
  for rank = 0, 3 do
    if ISOLATION > 0 and not may_yield(rank) and length(rank) > 0 then
      local waiting = tonumber(redis.call('HGET', KEY.turns, 'tokens' .. rank) or 0)
      local ends = virtual_time(rank) + BURST + math.max(BACKLOG, OF_THE_QUEUE * waiting)
      for _, tenant in ipairs(redis.call('ZRANGE', KEY.tenants[rank + 1], ends, '+inf', 'BYSCORE', 'LIMIT', 0, FLOODS)) do
        found[#found + 1] = tenant
      end
    end
  end
  return found
end

-- Slots that sheltered requests have had of late: an average that forgets.
local function slots_of_late()
  local t = redis.call('HMGET', KEY.turns, 'sheltered', 'shelter', 'shelter_ms')
  local slots, of_late, at = tonumber(t[1] or 0), tonumber(t[2] or 0), tonumber(t[3] or now)
  of_late = of_late + (slots - of_late) * (1 - math.exp((at - now) / OF_LATE_MS))
  redis.call('HSET', KEY.turns, 'shelter', string.format('%.6g', of_late), 'shelter_ms', now)
  return of_late
end

-- Workers that the refuge should have.
local function size_for(of_late)
  local slots, ready = unpack(redis.call('HMGET', KEY.turns, 'slots', 'ready'))
  ready = tonumber(ready or 0)
  if ready < 2 then
    return 0
  end
  local wanted, size = of_late * ready / (ISOLATION * slots), redis.call('ZCARD', KEY.refuge)
  if wanted < size and wanted > size - SLACK then
    return math.min(size, ready - 1)
  end
  return math.min(math.floor(wanted), ready - 1)
end

local function open_to_all(worker_id)
  redis.call('ZREM', KEY.refuge, worker_id)
  if redis.call('HDEL', KEY.worker .. worker_id, 'refuge') == 1 then
    forget_worker(worker_id)
    refresh_free(worker_id)
  end
end

local function take_in(worker_id)
  redis.call('ZADD', KEY.refuge, now, worker_id)
  redis.call('HSET', KEY.worker .. worker_id, 'refuge', 1)
  forget_worker(worker_id)
  refresh_free(worker_id)
end

-- By id, so that the same workers are taken whenever a flood comes.
local function resize(size)
  local members = redis.call('ZRANGE', KEY.refuge, 0, -1)
  local left = #members
  for i = left, 1, -1 do
    if left > size or worker_of(members[i]).state ~= 'ready' then
      open_to_all(members[i])
      left = left - 1
    end
  end
  if left == size then
    return
  end
  local all = redis.call('ZRANGE', KEY.workers, 0, -1)
  table.sort(all)
  for _, worker_id in ipairs(all) do
    local w = worker_of(worker_id)
    if w.state == 'ready' and not w.refuge then
      take_in(worker_id)
      left = left + 1
    end
    if left == size then
      return
    end
  end
end

local function keep_refuge()
  local tenants = flooding_tenants()
  redis.call('DEL', KEY.floods)
  if #tenants > 0 then
    redis.call('SADD', KEY.floods, unpack(tenants))
  end
  local of_late = slots_of_late()
  resize(#tenants > 0 and size_for(of_late) or 0)
end
