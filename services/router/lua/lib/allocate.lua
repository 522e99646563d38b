-- @require clock, workers
-- What a grant takes, and how it is reported.

local function allocate(request_id, rank, worker_id, cost)
  redis.call('ZADD', KEY.running[rank + 1], now, request_id)
  give(worker_id, request_id, cost)
end

-- `r`: session, id, attempt, rank, worker, submitted, granted and cached.
local function grant_event(r)
  local w = worker_of(r.worker)
  return {
    kind = 'grant', session = r.session, request = r.id, attempt = r.attempt, rank = r.rank, worker = r.worker,
    address = w.address or '', epoch = w.epoch or '0', version = w.version or '', wait_ms = r.granted - r.submitted,
    cached = r.cached,
  }
end
