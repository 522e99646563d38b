-- @require workers
-- Whether a worker may have one more request than others have, for the sake of what it holds in memory: the prompt in its cache
-- (policies/prefix.lua), or the adapter (worker_filter.lua).
local BALANCE = 1.25

local function granted_in_all()
  local sum = 0
  for _, running in ipairs(KEY.running) do
    sum = sum + redis.call('ZCARD', running)
  end
  return sum
end

-- With one more request a worker may have BALANCE times the share of its slots, and one more.
local function is_balanced(worker_id)
  local slots = worker_of(worker_id).slots
  local due = (granted_in_all() + 1) * slots / (redis.call('HGET', KEY.fair_queue, 'slots') or slots)
  return worker_of(worker_id).held + 1 <= BALANCE * due + 1
end
