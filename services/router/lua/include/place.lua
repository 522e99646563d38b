-- Chooses the worker for one request: the least loaded that is free, is not excluded, serves the wanted version and has
-- the KV cache for it. Returns the worker id; or nil and why: 'full' (wait for capacity) or 'unsuited' (free workers
-- exist, none of them for this request). Looks at CANDIDATES workers at most.
local CANDIDATES = 16

-- A request that is excluded from as many workers as there are has nowhere else to go; then it is only a wish.
local function is_excluded(worker_id, excluded)
  if excluded == '' or not string.find(excluded, ',' .. worker_id .. ',', 1, true) then
    return false
  end
  local _, commas = string.gsub(excluded, ',', ',')
  return commas - 1 < redis.call('ZCARD', WORKERS)
end

-- What a request needs of the KV cache; one that needs all of it or more runs alone.
local function has_kv(worker_id, kv)
  local total, reserved = unpack(redis.call('HMGET', WORKER .. worker_id, 'kv_tokens', 'kv_reserved'))
  local free = tonumber(total) - tonumber(reserved or 0)
  return kv <= free or redis.call('SCARD', HELD .. worker_id) == 0
end

local function suits(worker_id, excluded, version)
  return not is_excluded(worker_id, excluded)
    and (version == '' or redis.call('HGET', WORKER .. worker_id, 'version') == version)
end

local function place(kv, excluded, version)
  local candidates = redis.call('ZRANGE', FREE, 0, CANDIDATES - 1)
  local reason = #candidates > 0 and 'unsuited' or 'full'
  for _, worker_id in ipairs(candidates) do
    if suits(worker_id, excluded, version) then
      if has_kv(worker_id, kv) then
        return worker_id
      end
      reason = 'full'
    end
  end
  return nil, reason
end
