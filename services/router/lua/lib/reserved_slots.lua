-- @require clock, class_rules, fair_queue
-- Reserved slots. Each worker reserves one slot of ONE_RESERVED_OF for each of these two, while there is such work:
--   urgent: requests of classes that may preempt. They find a slot at once on the worker that has their prompt cached, although
--   the fleet is full.
--   fair: requests of tenants within their share, while other requests of their class wait and no better class waits. So a
--   noisy tenant takes from the others neither slots nor the workers that have their prompts cached.
-- Such a request may take a reserved slot when no other is free. The next request that ends on the worker gives it back.
local ONE_RESERVED_OF = 16
local FAIR_FOR_MS = 1000 -- how long slots stay reserved after the last fair work

local function is_urgent(rank)
  return may_preempt(rank) and (length(rank) > 0 or redis.call('ZCARD', KEY.running[rank + 1]) > 0)
end

local function had_fair_work(rank)
  return length(rank) > 0 and (redis.call('HGET', KEY.fair_queue, 'fair' .. rank) or -FAIR_FOR_MS) + FAIR_FOR_MS > now
end

local reserved -- whether there is urgent and fair work, as 1 or 0; found once a call

-- Returns how many of a worker's slots are reserved: for urgent work, and for fair work.
local function slots_reserved(slots)
  if not reserved then
    reserved = { urgent = 0, fair = 0 }
    for rank = 0, 3 do
      reserved.urgent = is_urgent(rank) and 1 or reserved.urgent
      reserved.fair = had_fair_work(rank) and 1 or reserved.fair
    end
  end
  local each = math.floor(slots / ONE_RESERVED_OF)
  return reserved.urgent * each, reserved.fair * each
end
