-- The workers that can take one more request. KEY.free holds those with an ordinary free slot. KEY.reserved holds those whose
-- last free slots are reserved (reserved_slots.lua). Both are in the order in which the placement policy looks at workers.

-- The number of workers in KEY.free is read once a call and then kept up to date.
local free_workers

local function count_free()
  free_workers = free_workers or redis.call('ZCARD', KEY.free)
  return free_workers
end

local function no_longer_free(worker_id)
  free_workers = count_free() - redis.call('ZREM', KEY.free, worker_id)
  redis.call('ZREM', KEY.reserved, worker_id)
end
