-- @require workers, placement
-- The worker for a request, while a version is on trial: requests of the classes flex and batch, and those that ask for it, go
-- to a canary worker if one has a slot. Requests of the class priority go to one only if no other worker has a slot. All other
-- requests go to either side. Nobody waits for a side, so a canary costs no capacity.
local PREFERS = { [0] = 'stable', [2] = 'canary', [3] = 'canary' }

-- Returns the same as the policy's `choose`.
local function choose_by_side(request)
  local worker_id, reason, cached = choose(request)
  local side = worker_id and worker_of(worker_id).side
  if not side or side == '' then
    return worker_id, reason, cached
  end
  local preferred = request.canary and 'canary' or PREFERS[request.rank]
  if not preferred or side == preferred then
    return worker_id, reason, cached
  end
  request.side = preferred
  local other_id, _, other_cached = choose(request)
  request.side = nil
  if other_id then
    return other_id, nil, other_cached
  end
  return worker_id, reason, cached
end
