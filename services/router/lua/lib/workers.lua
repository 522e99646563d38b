-- What a call knows of workers. Each worker is read once a call. The copy is kept up to date with the grants that the call
-- itself makes and takes back.
local workers = {}

-- Returns a worker's state. For a worker that does not exist, only `held` and defaults are set.
local function worker_of(worker_id)
  if not workers[worker_id] then
    local w = redis.call('HMGET', KEY.worker .. worker_id, 'state', 'slots', 'kv_tokens', 'kv_reserved', 'kv_used', 'pressed',
      'version', 'adapters', 'loaded', 'quiet_ms', 'address', 'epoch', 'cache', 'prefill', 'busy_ms', 'refuge', 'side', 'former')
    workers[worker_id] = {
      state = w[1], slots = tonumber(w[2]), kv_tokens = tonumber(w[3]), reserved = tonumber(w[4]) or 0,
      used = tonumber(w[5]) or 0, pressed = w[6] == '1', version = w[7], adapters = w[8], loaded = w[9],
      quiet = tonumber(w[10]) or math.huge, address = w[11], epoch = w[12], cache = w[13],
      prefill = tonumber(w[14]) or 0, busy = tonumber(w[15]) or 0, isolated = w[16], side = w[17], former = w[18],
      held = redis.call('SCARD', KEY.held .. worker_id),
    }
  end
  return workers[worker_id]
end

-- Call this after the worker's hash was written by other code than this file.
local function forget_worker(worker_id)
  workers[worker_id] = nil
end

-- Takes a slot, and `tokens` of KV cache, of the worker.
local function give(worker_id, request_id, tokens)
  local worker = worker_of(worker_id)
  worker.held = worker.held + redis.call('SADD', KEY.held .. worker_id, request_id)
  worker.reserved = redis.call('HINCRBY', KEY.worker .. worker_id, 'kv_reserved', tokens)
end

local function take_back(worker_id, request_id, tokens)
  local worker = worker_of(worker_id)
  worker.held = worker.held - redis.call('SREM', KEY.held .. worker_id, request_id)
  if worker.epoch then
    -- Not `-tokens`: the negative of 0 prints as "-0", and Redis 7.0 refuses that as an integer.
    worker.reserved = redis.call('HINCRBY', KEY.worker .. worker_id, 'kv_reserved', 0 - tokens)
  end
end
