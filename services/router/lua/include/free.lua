-- What a worker has room for. KEY.free holds those that take one more request, in the order in which the policy looks at them.
--
-- Of each worker one slot of ONE_KEPT_OF is kept for each of these, while there is such work:
--   urgent: requests of classes that may preempt. They find a slot at once, wherever their prompt is cached, although the
--   fleet is full.
--   fair: requests of tenants within their share (turns.lua), while others of their class wait for theirs and no better
--   class waits. One tenant's flood takes from the others neither slots nor the workers that have their prompts cached.
-- A worker that has no others free is in KEY.kept instead of KEY.free. What is taken of them is given back by the next that ends.
local ONE_KEPT_OF = 16
local FAIR_FOR_MS = 1000 -- for which there is fair work after the last
local REFUGE = 2 ^ 40 -- added to the order of the refuge's workers (refuge.lua): they come after all others

-- Share of slots or of KV cache in use, whichever is larger. The cache is charged with the larger of what was estimated for
-- the requests granted and what the engine last reported.
local function load_of(worker_id)
  local w = worker_of(worker_id)
  if w.state ~= 'ready' or w.held >= w.slots or (w.pressed and w.held > 0) then
    return nil
  end
  return math.max(w.held / w.slots, math.max(w.reserved, w.used) / w.kv_tokens), w.slots - w.held, w.slots
end

-- Workers in KEY.free: asked for once a call, then kept in step.
local free_workers

local function count_free()
  free_workers = free_workers or redis.call('ZCARD', KEY.free)
  return free_workers
end

local function no_longer_free(worker_id)
  free_workers = count_free() - redis.call('ZREM', KEY.free, worker_id)
  redis.call('ZREM', KEY.kept, worker_id)
end

local function is_urgent(rank)
  return may_preempt(rank) and (length(rank) > 0 or redis.call('ZCARD', KEY.running[rank + 1]) > 0)
end

local function had_fair_work(rank)
  return length(rank) > 0 and (redis.call('HGET', KEY.turns, 'fair' .. rank) or -FAIR_FOR_MS) + FAIR_FOR_MS > now
end

local kept -- shares of slots for urgent and fair work; found once a call

local function slots_kept(slots)
  if not kept then
    kept = { urgent = 0, fair = 0 }
    for rank = 0, 3 do
      kept.urgent = is_urgent(rank) and 1 or kept.urgent
      kept.fair = had_fair_work(rank) and 1 or kept.fair
    end
  end
  local each = math.floor(slots / ONE_KEPT_OF)
  return kept.urgent * each, kept.fair * each
end

local function refresh_free(worker_id)
  local load, left, slots = load_of(worker_id)
  if not load then
    no_longer_free(worker_id)
    return
  end
  local urgent, fair = slots_kept(slots)
  local order = order_of(worker_id, load) + (worker_of(worker_id).refuge and REFUGE or 0)
  if left > urgent + fair then
    redis.call('ZREM', KEY.kept, worker_id)
    free_workers = count_free() + redis.call('ZADD', KEY.free, order, worker_id)
  else
    no_longer_free(worker_id)
    redis.call('ZADD', KEY.kept, order, worker_id)
  end
end

-- Keeps the sum of the slots of ready workers, by which mean load is known, and their number.
local function count_slots(worker_id, slots)
  local counted = redis.call('HGET', KEY.worker .. worker_id, 'counted') or 0
  if tonumber(counted) ~= slots then
    redis.call('HINCRBY', KEY.turns, 'slots', slots - counted)
    redis.call('HINCRBY', KEY.turns, 'ready', (slots > 0 and 1 or 0) - (tonumber(counted) > 0 and 1 or 0))
    redis.call('HSET', KEY.worker .. worker_id, 'counted', slots)
  end
end
