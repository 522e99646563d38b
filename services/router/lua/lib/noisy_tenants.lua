-- @require class_rules, fair_queue, start_tags
-- Finds the noisy tenants. A tenant is noisy when it causes the queue of a class: more than BACKLOG tokens of it wait beyond
-- its burst, and they are at least QUEUE_SHARE of all tokens that wait in the class. Where many tenants cause the queue
-- together, none is noisy. In classes that may be preempted none is noisy: these classes are meant to fill what is left.
local QUEUE_SHARE = 0.25
local NOISY = 8 -- tenants of one class at most

local function noisy_tenants()
  local found = {}
  for rank = 0, 3 do
    if SETTING.isolation > 0 and not may_be_preempted(rank) and length(rank) > 0 then
      local waiting = tonumber(redis.call('HGET', KEY.fair_queue, 'tokens' .. rank) or 0)
      local ends = virtual_time(rank) + SETTING.burst_tokens + math.max(BACKLOG, QUEUE_SHARE * waiting)
      for _, tenant in ipairs(redis.call('ZRANGE', KEY.tenants[rank + 1], ends, '+inf', 'BYSCORE', 'LIMIT', 0, NOISY)) do
        found[#found + 1] = tenant
      end
    end
  end
  return found
end
