-- @require clock, class_rules, fair_queue, start_tags, workers, worker_capacity
-- The isolation pool: while a tenant is noisy, some workers are denied to it, so that the prompts of all other tenants stay in
-- the caches of these workers. A noisy tenant fills every cache that its requests reach, and a tenant that sends little would
-- find nothing cached any more. The pool is also denied to classes that may be preempted. A request that no other worker can
-- serve goes to the pool all the same (worker_filter.lua).
--
-- KEY.noisy_tenants holds the noisy tenants and KEY.isolation_pool the workers; the script reap keeps both (noisy_tenants.lua,
-- isolation_sizing.lua). A worker of the pool has the field `refuge` in its hash, and its score in KEY.free and KEY.reserved is
-- higher by ISOLATED: it comes after all other workers. A request of another tenant that has to wait meanwhile also waits for
-- any worker of the pool: its place is in waiting_for(isolation.ANY).
--
-- Without a queue no tenant is noisy, so `active` is false in most calls. The functions are made only when it is true, because
-- to make them costs as much as a call of them.
local LOOKED_OUTSIDE = 64 -- workers
local isolation = { ANY = '*', active = false }

local function make_isolation_functions()
  -- Whether the pool is denied to a request.
  function isolation.denies(request)
    if request.denied == nil then
      request.denied = may_be_preempted(request.rank) or redis.call('SISMEMBER', KEY.noisy_tenants, request.tenant) == 1
    end
    return request.denied
  end

  -- Call this for a request that is granted: requests within their tenants' share decide how large the pool has to be.
  function isolation.count_granted(request)
    if not isolation.denies(request) and request.tag <= virtual_time(request.rank) then
      redis.call('HSET', KEY.request .. request.id, 'sheltered', 1)
      redis.call('HINCRBY', KEY.fair_queue, 'sheltered', 1)
    end
  end

  -- Returns the first workers in KEY.free or KEY.reserved (`key`) that a request may look at, `limit` at most. A request that
  -- the pool is denied to gets no worker of the pool. Any other request gets the workers of the pool before the rest.
  function isolation.first_workers(key, request, limit)
    local found = {}
    if not isolation.denies(request) then
      found = redis.call('ZRANGE', key, ISOLATED, '+inf', 'BYSCORE', 'LIMIT', 0, limit)
    end
    if #found < limit then
      local others = redis.call('ZRANGE', key, '-inf', '(' .. ISOLATED, 'BYSCORE', 'LIMIT', 0, limit - #found)
      for _, worker_id in ipairs(others) do
        found[#found + 1] = worker_id
      end
    end
    return found
  end

  -- Whether a request should look for its prompt in this worker's cache. What is cached outside of the pool is soon evicted.
  function isolation.keeps_cache(request, worker_id)
    return isolation.denies(request) or worker_of(worker_id).isolated or redis.call('EXISTS', KEY.isolation_pool) == 0
  end

  -- Whether a request that the pool is denied to can wait for a worker outside of the pool. Most requests can. One that needs a
  -- version or an adapter, or excludes workers, may not.
  function isolation.has_other_workers(request, fit)
    if request.excluded == '' and request.version == '' and request.adapter == '' then
      return true
    end
    for _, worker_id in ipairs(redis.call('ZRANGE', KEY.workers, 0, LOOKED_OUTSIDE - 1)) do
      local w = worker_of(worker_id)
      if w.state == 'ready' and not w.isolated and fit(worker_id, request) ~= 'unsuitable' then
        return true
      end
    end
    return false
  end
end

-- Call this before anything of `isolation` is used.
local function check_isolation()
  isolation.active = anyone_waits() and redis.call('EXISTS', KEY.noisy_tenants) == 1
  if isolation.active then
    make_isolation_functions()
  end
end
