-- @require worker_filter
-- Placement in rotation: the worker that fits and was granted to least recently. It ignores load, except for workers that are
-- full. It exists for comparison (least_load.lua says what a policy has).
local function choose(request)
  local worker_id, reason = first_fit(request)
  return worker_id, reason, 0
end

local function preferred_worker() end

local function note_grant(_, worker_id)
  redis.call('HSET', KEY.worker .. worker_id, 'turn', redis.call('INCR', KEY.arrivals))
end
