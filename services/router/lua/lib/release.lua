-- @require fair_queue, limit_budgets, workers, worker_capacity
-- Forgets a request, queued or granted, and gives back what it held. Does nothing for a request that does not exist.
--
-- `actual`: the tokens that it really cost, if they are known. The tenant's tag and the limits are corrected by the difference.
-- Returns whether the request existed.
local function release(request_id, actual)
  local key = KEY.request .. request_id
  local r = redis.call('HMGET', key, 'session', 'rank', 'worker', 'cost', 'place', 'tenant', 'weight', 'limits', 'sheltered')
  local session, rank, worker, cost, place, tenant, weight, limits, sheltered = r[1], tonumber(r[2]), unpack(r, 3, 9)
  if not session then
    return false
  end
  if worker then
    redis.call('ZREM', KEY.running[rank + 1], request_id)
    redis.call('SREM', KEY.preempted, request_id)
    take_back(worker, request_id, cost)
    refresh_free(worker)
    if sheltered then
      redis.call('HINCRBY', KEY.fair_queue, 'sheltered', -1)
    end
  else
    leave(rank, place, cost)
    redis.call('ZREM', KEY.deadlines, request_id)
  end
  local difference = actual and actual - cost or 0
  if difference ~= 0 then
    redis.call('ZADD', KEY.tenants[rank + 1], 'XX', 'INCR', difference / weight, tenant)
  end
  if limits ~= '' then
    close_limits(limits, request_id, difference)
  end
  redis.call('SREM', KEY.owned .. session, request_id)
  redis.call('DEL', key)
  return true
end
