-- Grants free capacity to queued requests in exact order: by class, then by order of service within the class.
--
-- A request that waits for KV cache holds back all that come after it, so that large requests are not starved by small
-- ones. A request that no free worker suits (excluded, other version) is passed over, PASSED_OVER of them at most.
local PASSED_OVER = 8
local GRANTS = 64

local function expire(request_id)
  local session, attempt = unpack(redis.call('HMGET', REQUEST .. request_id, 'session', 'attempt'))
  release(request_id)
  emit({ kind = 'expired', session = session, request = request_id, attempt = attempt })
end

local function hold(request_id, worker_id, kv)
  redis.call('HSET', REQUEST .. request_id, 'worker', worker_id)
  redis.call('SADD', HELD .. worker_id, request_id)
  redis.call('HINCRBY', WORKER .. worker_id, 'kv_reserved', kv)
end

local function grant_event(request_id)
  local r = redis.call('HMGET', REQUEST .. request_id, 'session', 'attempt', 'rank', 'worker', 'submitted', 'granted')
  local w = redis.call('HMGET', WORKER .. r[4], 'address', 'epoch', 'version')
  return {
    kind = 'grant', session = r[1], request = request_id, attempt = r[2], rank = r[3], worker = r[4],
    address = w[1] or '', epoch = w[2] or '0', version = w[3] or '', wait_ms = r[6] - r[5],
  }
end

local function grant(request_id, queue, worker_id, kv)
  redis.call('ZREM', queue, request_id)
  redis.call('ZREM', DEADLINES, request_id)
  redis.call('HSET', REQUEST .. request_id, 'granted', now)
  hold(request_id, worker_id, kv)
  refresh_free(worker_id)
  emit(grant_event(request_id))
end

-- One look at one place in a queue. Returns 'taken' (it left the queue), 'passed' or 'stop'.
local function serve(queue, request_id)
  local session, kv, excluded, version, deadline =
    unpack(redis.call('HMGET', REQUEST .. request_id, 'session', 'kv', 'excluded', 'version', 'deadline'))
  if not session then
    redis.call('ZREM', queue, request_id)
    return 'taken'
  end
  if tonumber(deadline) <= now then
    expire(request_id)
    return 'taken'
  end
  local worker_id, reason = place(tonumber(kv), excluded, version)
  if worker_id then
    grant(request_id, queue, worker_id, kv)
    return 'taken'
  end
  return reason == 'unsuited' and 'passed' or 'stop'
end

local function grant_ready()
  local left = GRANTS
  for _, queue in ipairs(QUEUES) do
    local passed = 0
    while passed < PASSED_OVER do
      if left == 0 or redis.call('ZCARD', FREE) == 0 then
        return
      end
      local request_id = redis.call('ZRANGE', queue, passed, passed)[1]
      if not request_id then
        break
      end
      local result = serve(queue, request_id)
      left = left - 1
      if result == 'stop' then
        return
      end
      if result == 'passed' then
        passed = passed + 1
      end
    end
  end
end
