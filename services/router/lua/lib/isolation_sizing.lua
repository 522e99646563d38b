-- @require clock, workers, worker_capacity, noisy_tenants
-- Keeps the isolation pool (isolation_pool.lua) as large as the other tenants need it. It has as many workers as the requests
-- within their tenants' share fill to `isolation` (a setting of the pool, a share of slots), by the slots that these requests
-- had over the last seconds. If that is less than one worker, the pool is empty. At least one worker stays outside.
local AVERAGED_OVER_MS = 10000
local SLACK = 1 -- workers by which the pool may be too large before it shrinks

-- Returns how many slots such requests had over the last seconds: an exponential average.
local function average_slots()
  local t = redis.call('HMGET', KEY.fair_queue, 'sheltered', 'shelter', 'shelter_ms')
  local slots, average, at = tonumber(t[1] or 0), tonumber(t[2] or 0), tonumber(t[3] or now)
  average = average + (slots - average) * (1 - math.exp((at - now) / AVERAGED_OVER_MS))
  redis.call('HSET', KEY.fair_queue, 'shelter', string.format('%.6g', average), 'shelter_ms', now)
  return average
end

-- Returns how many workers the pool should have.
local function size_for(average)
  local slots, ready = unpack(redis.call('HMGET', KEY.fair_queue, 'slots', 'ready'))
  ready = tonumber(ready or 0)
  if ready < 2 then
    return 0
  end
  local needed, size = average * ready / (SETTING.isolation * slots), redis.call('ZCARD', KEY.isolation_pool)
  if needed < size and needed > size - SLACK then
    return math.min(size, ready - 1)
  end
  return math.min(math.floor(needed), ready - 1)
end

local function remove_from_pool(worker_id)
  redis.call('ZREM', KEY.isolation_pool, worker_id)
  if redis.call('HDEL', KEY.worker .. worker_id, 'refuge') == 1 then
    forget_worker(worker_id)
    refresh_free(worker_id)
  end
end

local function add_to_pool(worker_id)
  redis.call('ZADD', KEY.isolation_pool, now, worker_id)
  redis.call('HSET', KEY.worker .. worker_id, 'refuge', 1)
  forget_worker(worker_id)
  refresh_free(worker_id)
end

-- Workers are added in the order of their ids, so that a tenant that is noisy again finds the same pool.
local function resize(size)
  local members = redis.call('ZRANGE', KEY.isolation_pool, 0, -1)
  local left = #members
  for i = left, 1, -1 do
    if left > size or worker_of(members[i]).state ~= 'ready' then
      remove_from_pool(members[i])
      left = left - 1
    end
  end
  if left == size then
    return
  end
  local all = redis.call('ZRANGE', KEY.workers, 0, -1)
  table.sort(all)
  for _, worker_id in ipairs(all) do
    local w = worker_of(worker_id)
    if w.state == 'ready' and not w.isolated then
      add_to_pool(worker_id)
      left = left + 1
    end
    if left == size then
      return
    end
  end
end

local function resize_isolation_pool()
  local tenants = noisy_tenants()
  redis.call('DEL', KEY.noisy_tenants)
  if #tenants > 0 then
    redis.call('SADD', KEY.noisy_tenants, unpack(tenants))
  end
  local average = average_slots()
  resize(#tenants > 0 and size_for(average) or 0)
end
