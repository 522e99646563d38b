-- Whether a worker that is free suits a request: it was heard of within half its lease, is not excluded, serves the wanted
-- version and adapter, is not of a refuge that keeps the request out, and has the KV cache for it. Looks at CANDIDATES workers
-- at most.
local CANDIDATES = 16

local function is_among(list, name)
  return string.find(list, ',' .. name .. ',', 1, true) ~= nil
end

-- A request that is excluded from as many workers as there are has nowhere else to go; then it is only a wish.
local function is_excluded(worker_id, excluded)
  if excluded == '' or not is_among(excluded, worker_id) then
    return false
  end
  local _, commas = string.gsub(excluded, ',', ',')
  return commas - 1 < redis.call('ZCARD', KEY.workers)
end

-- Returns 'fits', 'full' (of the right kind, and has no room now) or 'unsuited'; and whether its adapter is loaded there.
-- What needs all of a KV cache or more runs alone.
local function fit(worker_id, request)
  local w = worker_of(worker_id)
  if now >= w.quiet
    or is_excluded(worker_id, request.excluded)
    or (request.version ~= '' and w.version ~= request.version)
    or (request.adapter ~= '' and not is_among(w.adapters, request.adapter))
  then
    return 'unsuited'
  end
  if refuge.needed and w.refuge and refuge.keeps_out(request) then
    return 'full'
  end
  if request.kv > w.kv_tokens - math.max(w.reserved, w.used) and w.held > 0 then
    return 'full'
  end
  return 'fits', request.adapter == '' or is_among(w.loaded, request.adapter)
end

-- The first free worker that fits, preferably one that has the adapter in memory. Else nil and why: 'full' (wait for
-- capacity) or 'unsuited' (free workers exist, none of them for this request).
local function first_fit(request)
  local first = workers_for(request, 1)[1] -- mostly it does, and the others need not be asked for
  if first and request.adapter == '' and fit(first, request) == 'fits' then
    return first
  end
  local candidates = workers_for(request, CANDIDATES)
  local reason, fallback = #candidates > 0 and 'unsuited' or 'full', nil
  for _, worker_id in ipairs(candidates) do
    local how, loaded = fit(worker_id, request)
    if how == 'fits' and loaded then
      return worker_id
    end
    fallback = fallback or (how == 'fits' and worker_id or nil)
    reason = how == 'full' and 'full' or reason
  end
  if refuge.needed and not fallback and refuge.keeps_out(request) and not refuge.suits_outside(request, fit) then
    request.kept_out = false
    fallback, reason = first_fit(request)
    request.kept_out = true
  end
  return fallback, reason
end
