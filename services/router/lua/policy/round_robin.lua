-- Placement in turn: the worker that fits and was granted to least recently. For comparison; it knows nothing of load
-- beyond what is full.
local function choose(request)
  local worker_id, reason = first_fit(request)
  return worker_id, reason, 0
end

local function wish() end

local function took(_, worker_id)
  redis.call('HSET', KEY.worker .. worker_id, 'turn', redis.call('INCR', KEY.arrivals))
end
