-- Makes room for requests whose objective is in danger: asks gateways to give up running work of classes that may be made to
-- yield, the worst class first, within it what has run shortest among those that yielded least often. As many as wait in
-- danger, less those that were asked already.
local LOOKED_AT_RUNNING = 8

local function waits_in_danger(rank)
  local pace = tonumber(redis.call('HGET', KEY.turns, 'pace') or 0)
  local danger = 0
  for i, place in ipairs(redis.call('ZRANGE', KEY.queues[rank + 1], 0, LOOKED_AT_RUNNING - 1)) do
    local submitted, objective = unpack(redis.call('HMGET', KEY.request .. of_place(place), 'submitted', 'objective'))
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
    if redis.call('SISMEMBER', KEY.yielding, request_id) == 0 and attempt < (fewest or math.huge) then
      victim, fewest = request_id, attempt
    end
  end
  return victim
end

local function ask_to_yield(worse_than)
  for rank = 3, worse_than + 1, -1 do
    local victim = may_yield(rank) and least_valuable(rank)
    if victim then
      local session, attempt = unpack(redis.call('HMGET', KEY.request .. victim, 'session', 'attempt'))
      redis.call('SADD', KEY.yielding, victim)
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
  for _ = redis.call('SCARD', KEY.yielding) + 1, waits_in_danger(rank) do
    if not ask_to_yield(rank) then
      return
    end
  end
end
