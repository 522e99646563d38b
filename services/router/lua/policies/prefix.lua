-- @require clock, workers, eligibility, worker_filter, isolation_pool, prefix_holders, balance
-- Placement by cached prefix, as far as balance allows. Of the workers that hold a worthwhile prefix of the prompt, the one with
-- the longest is chosen. If none of them fits, or each is loaded above the mean (balance.lua), the least loaded worker that fits
-- is chosen.
--
-- A worker that computes other prompts is avoided, because that is what most of the time to a first token is spent on. A worker
-- is believed to be busy with the prompts that it was granted, for as long as its prefill speed says (`prefill`, tokens a ms).
-- While the first choice is busy, the worker that would have computed this prompt soonest is chosen. A worker that does not
-- report its speed is never busy.
local WORTHWHILE = 0.1 -- of the prompt
local ELSEWHERE = 4 -- least loaded workers that are looked at while the holders are busy

-- Returns how long (ms) a worker computes other prompts first, and when it would have computed this one.
local function prefill_of(worker_id, request, cached)
  local w = worker_of(worker_id)
  local others = math.max(0, w.busy - now)
  return others, others + (w.prefill > 0 and math.max(0, request.prompt - cached) / w.prefill or 0)
end

-- Of the best worker so far and one that fits, the one that would have computed the prompt sooner.
local function sooner(best, worker_id, request, cached)
  local others, done = prefill_of(worker_id, request, cached)
  return (best and best.done <= done) and best or { id = worker_id, cached = cached, busy = others > 0, done = done }
end

local function best_holder(request)
  local prefixes, best = prefixes_of(request), nil
  for _, holder in ipairs(prefixes.total > 0 and holders(prefixes) or {}) do
    if holder.tokens >= WORTHWHILE * request.prompt and is_current(holder)
      and (not isolation.active or isolation.keeps_cache(request, holder.id))
      and is_eligible(request, holder.id) and is_balanced(holder.id) and fit(holder.id, request) == 'fits'
    then
      best = sooner(best, holder.id, request, holder.tokens)
      if not best.busy then
        return best -- the workers after it hold a shorter prefix
      end
    end
  end
  return best
end

local function choose(request)
  local best = best_holder(request)
  if request.adapter == '' and not (best and not best.busy) then
    for _, worker_id in ipairs(eligible_workers(request, ELSEWHERE)) do
      if fit(worker_id, request) == 'fits' then
        best = sooner(best, worker_id, request, 0)
        if not best.busy then
          break
        end
      end
    end
  end
  if best then
    return best.id, nil, best.cached
  end
  local worker_id, reason = first_fit(request)
  return worker_id, reason, 0
end

-- One of the workers that hold the longest worthwhile prefix. Requests are spread over them.
local function preferred_worker(request)
  local prefixes, longest = prefixes_of(request), {}
  for _, holder in ipairs(prefixes.total > 0 and holders(prefixes) or {}) do
    local is_longest = holder.tokens == (longest[1] or holder).tokens
    if is_longest and holder.tokens >= WORTHWHILE * request.prompt and is_current(holder) then
      longest[#longest + 1] = holder
    end
  end
  if #longest > 0 then
    return longest[redis.call('GET', KEY.arrivals) % #longest + 1].id
  end
end

local function note_grant(request, worker_id, cached)
  local w = worker_of(worker_id)
  if w.prefill > 0 then
    w.busy = now + select(2, prefill_of(worker_id, request, cached))
    redis.call('HSET', KEY.worker .. worker_id, 'busy_ms', string.format('%.3f', w.busy))
  end
  note_prefixes(request, worker_id)
end
