-- @require clock, class_rules, fair_queue, events
-- Makes space for requests that would miss their objective: asks gateways to give up running requests of classes that may be
-- preempted. The worst class comes first; within it, the request that ran shortest among those preempted least often. As many
-- are asked for as requests are in danger, less those that were asked for before.
local LOOKED_AT_RUNNING = 8

-- How many of the first queued requests would start after their objective, at the present pace.
local function count_in_danger(rank)
  local pace = tonumber(redis.call('HGET', KEY.fair_queue, 'pace') or 0)
  local danger = 0
  for i, place in ipairs(redis.call('ZRANGE', KEY.queues[rank + 1], 0, LOOKED_AT_RUNNING - 1)) do
    local submitted, objective = unpack(redis.call('HMGET', KEY.request .. request_at(place), 'submitted', 'objective'))
    if submitted and now - submitted + i * pace > tonumber(objective) then
      danger = danger + 1
    end
  end
  return danger
end

local function least_valuable(rank)
  local victim, fewest
  for _, request_id in ipairs(redis.call('ZRANGE', KEY.running[rank + 1], 0, LOOKED_AT_RUNNING - 1, 'REV')) do
    local attempt = tonumber(redis.call('HGET', KEY.request .. request_id, 'attempt'))
    if redis.call('SISMEMBER', KEY.preempted, request_id) == 0 and attempt < (fewest or math.huge) then
      victim, fewest = request_id, attempt
    end
  end
  return victim
end

-- Asks for one running request of a class worse than this rank. Returns false when there is none.
local function preempt_one(worse_than)
  for rank = 3, worse_than + 1, -1 do
    local victim = may_be_preempted(rank) and least_valuable(rank)
    if victim then
      local session, attempt = unpack(redis.call('HMGET', KEY.request .. victim, 'session', 'attempt'))
      redis.call('SADD', KEY.preempted, victim)
      emit({ kind = 'yield', session = session, request = victim, attempt = attempt })
      return true
    end
  end
  return false
end

local function preempt(rank)
  if not may_preempt(rank) or length(rank) == 0 then
    return
  end
  for _ = redis.call('SCARD', KEY.preempted) + 1, count_in_danger(rank) do
    if not preempt_one(rank) then
      return
    end
  end
end
