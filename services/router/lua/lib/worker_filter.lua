-- @require clock, workers, eligibility, isolation_pool, balance
-- Whether a free worker fits a request. It fits when the router heard of it within half its lease, the request does not exclude
-- it, it serves the requested version and adapter, it is on the side of a rollout that is looked for (choice.lua), its isolation
-- pool is open to the request, and its KV cache has space.
local CANDIDATES = 16 -- workers looked at for one request
local CANDIDATES_BY_SIDE = 64 -- and for one that prefers a side of a rollout (choice.lua), which few workers may be on

local function is_listed(list, name)
  return string.find(list, ',' .. name .. ',', 1, true) ~= nil
end

-- A request that excludes as many workers as there are has nowhere else to go. Then its exclusions do not count.
local function is_excluded(worker_id, excluded)
  if excluded == '' or not is_listed(excluded, worker_id) then
    return false
  end
  local _, commas = string.gsub(excluded, ',', ',')
  return commas - 1 < redis.call('ZCARD', KEY.workers)
end

-- Returns the version of the model that the request needs, or ''. A version after '?' is only preferred: it is needed while a
-- worker of it has a slot for the request. So such a request waits for the first slot of either kind.
local function needed_version(request)
  if string.sub(request.version, 1, 1) ~= '?' then
    return request.version
  end
  local preferred = string.sub(request.version, 2)
  for _, worker_id in ipairs(redis.call('ZRANGE', KEY.workers, 0, -1)) do
    local w = worker_of(worker_id)
    if w.version == preferred and now < w.quiet and is_eligible(request, worker_id)
      and not is_excluded(worker_id, request.excluded)
    then
      return preferred
    end
  end
  return ''
end

-- Returns 'fits', 'full' (the right kind of worker, but without space now) or 'unsuitable'; and for 'fits' whether the adapter
-- is in the worker's memory. A request that needs all of a KV cache, or more, runs alone.
local function fit(worker_id, request)
  local w = worker_of(worker_id)
  if request.version ~= '' and not request.needs then
    request.needs = needed_version(request)
  end
  local needs = request.needs or ''
  if now >= w.quiet
    or is_excluded(worker_id, request.excluded)
    or (needs ~= '' and w.version ~= needs)
    or (request.adapter ~= '' and not is_listed(w.adapters, request.adapter))
    or (request.side and w.side ~= request.side)
  then
    return 'unsuitable'
  end
  if isolation.active and w.isolated and isolation.denies(request) then
    return 'full'
  end
  if request.kv > w.kv_tokens - math.max(w.reserved, w.used) and w.held > 0 then
    return 'full'
  end
  return 'fits', request.adapter == '' or is_listed(w.loaded, request.adapter)
end

-- Returns the first free worker that fits, if possible one that has the adapter in memory. But when each of those is loaded above
-- the mean, the first one that fits loads the adapter too: so a hot adapter spreads. Otherwise returns nil and a reason: 'full'
-- (wait for capacity) or 'unsuitable' (there are free workers, but none for this request).
local function first_fit(request)
  -- Usually the first worker fits. Then the others are not read.
  local first = eligible_workers(request, 1)[1]
  if first and request.adapter == '' and fit(first, request) == 'fits' then
    return first
  end
  local candidates = eligible_workers(request, request.side and CANDIDATES_BY_SIDE or CANDIDATES)
  local reason, fallback = #candidates > 0 and 'unsuitable' or 'full', nil
  for _, worker_id in ipairs(candidates) do
    local how, loaded = fit(worker_id, request)
    if how == 'fits' and loaded and (request.adapter == '' or is_balanced(worker_id)) then
      return worker_id
    end
    fallback = fallback or (how == 'fits' and worker_id or nil)
    reason = how == 'full' and 'full' or reason
  end
  if isolation.active and not fallback and isolation.denies(request) and not isolation.has_other_workers(request, fit) then
    request.denied = false
    fallback, reason = first_fit(request)
    request.denied = true
  end
  return fallback, reason
end
