-- Forgets a request in any state and gives back what it held. Safe for one that does not exist.
--
-- `actual`: the tokens it really cost, if that is known now; its tenant's tag and its limits are corrected by the difference.
local function release(request_id, actual)
  local key = KEY.request .. request_id
  local r = redis.call('HMGET', key, 'session', 'rank', 'worker', 'cost', 'place', 'tenant', 'weight', 'limits', 'sheltered')
  local session, rank, worker, cost, place, tenant, weight, limits, sheltered = r[1], tonumber(r[2]), unpack(r, 3, 9)
  if not session then
    return false
  end
  if worker then
    redis.call('ZREM', KEY.running[rank + 1], request_id)
    redis.call('SREM', KEY.yielding, request_id)
    take_back(worker, request_id, cost)
    refresh_free(worker)
    if sheltered then
      redis.call('HINCRBY', KEY.turns, 'sheltered', -1)
    end
  else
    leave(rank, place, cost)
    redis.call('ZREM', KEY.deadlines, request_id)
  end
  local difference = actual and actual - cost or 0
  if difference ~= 0 then
    correct_tag(rank, tenant, difference, weight)
  end
  if limits ~= '' then
    close_limits(limits, request_id, difference)
  end
  redis.call('SREM', KEY.owned .. session, request_id)
  redis.call('DEL', key)
  return true
end
