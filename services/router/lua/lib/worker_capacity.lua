-- @require workers, free_workers, reserved_slots, placement_order
-- A worker's free capacity, and its place among the free workers.
local ISOLATED = 2 ^ 40 -- added to the order of workers of the isolation pool: they come after all others

-- Returns the load, the free slots and all slots of a worker, or nil when it can take no request. Load is the share of slots or
-- of KV cache in use, whichever is larger. The KV cache in use is the larger of two figures: the estimates of the requests
-- granted, and what the engine last reported.
local function load_of(worker_id)
  local w = worker_of(worker_id)
  if w.state ~= 'ready' or w.side == 'closed' or w.held >= w.slots or (w.pressed and w.held > 0) then
    return nil
  end
  return math.max(w.held / w.slots, math.max(w.reserved, w.used) / w.kv_tokens), w.slots - w.held, w.slots
end

-- Call this after anything that changes what a worker can take.
local function refresh_free(worker_id)
  local load, left, slots = load_of(worker_id)
  if not load then
    no_longer_free(worker_id)
    return
  end
  local urgent, fair = slots_reserved(slots)
  local order = order_of(worker_id, load) + (worker_of(worker_id).isolated and ISOLATED or 0)
  if left > urgent + fair then
    redis.call('ZREM', KEY.reserved, worker_id)
    free_workers = count_free() + redis.call('ZADD', KEY.free, order, worker_id)
  else
    no_longer_free(worker_id)
    redis.call('ZADD', KEY.reserved, order, worker_id)
  end
end
