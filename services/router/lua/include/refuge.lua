-- Some workers are a refuge while a tenant floods: it is kept out of them, so that the prompts of all others stay in their
-- caches. A flood fills every cache that it gets to, and whoever sends little finds nothing there any more. Kept out is
-- also what may be made to yield. What no other worker could serve goes there all the same (suits.lua).
--
-- KEY.floods has the tenants that flood and KEY.refuge those workers; reap.lua keeps both (shelter.lua). In its hash such a
-- worker has `refuge`, and in KEY.free and KEY.kept its score is higher by REFUGE: there it comes after all others. A request
-- of any other tenant that has to wait meanwhile waits for the refuge too (turns.lua, wanted), as ANY.
--
-- Where nobody waits, nobody floods. What a flood takes is made only then.
local LOOKED_OUTSIDE = 64
local refuge = { ANY = '*', needed = anyone_waits() and redis.call('EXISTS', KEY.floods) == 1 }

if refuge.needed then
  -- Whether a request is of a flood, or of a class that fills what is left.
  function refuge.keeps_out(request)
    if request.kept_out == nil then
      request.kept_out = may_yield(request.rank) or redis.call('SISMEMBER', KEY.floods, request.tenant) == 1
    end
    return request.kept_out
  end

  -- Of a request that is granted: those that are within their tenants' share say how large the refuge has to be.
  function refuge.count(request)
    if not refuge.keeps_out(request) and request.tag <= virtual_time(request.rank) then
      redis.call('HSET', KEY.request .. request.id, 'sheltered', 1)
      redis.call('HINCRBY', KEY.turns, 'sheltered', 1)
    end
  end

  -- Of the workers in KEY.free or KEY.kept, the first that a request may look at: those that are kept out at none of the
  -- refuge's, others at those before the rest.
  function refuge.first_of(key, request, limit)
    local found = {}
    if not refuge.keeps_out(request) then
      found = redis.call('ZRANGE', key, REFUGE, '+inf', 'BYSCORE', 'LIMIT', 0, limit)
    end
    if #found < limit then
      for _, worker_id in ipairs(redis.call('ZRANGE', key, '-inf', '(' .. REFUGE, 'BYSCORE', 'LIMIT', 0, limit - #found)) do
        found[#found + 1] = worker_id
      end
    end
    return found
  end

  -- Whether a request looks for its cache there: what is cached outside of the refuge will not be for long.
  function refuge.is_home(request, worker_id)
    return refuge.keeps_out(request) or worker_of(worker_id).refuge or redis.call('EXISTS', KEY.refuge) == 0
  end

  -- Whether a request that is kept out has any other worker to wait for. It has, unless it is particular.
  function refuge.suits_outside(request, suits)
    if request.excluded == '' and request.version == '' and request.adapter == '' then
      return true
    end
    for _, worker_id in ipairs(redis.call('ZRANGE', KEY.workers, 0, LOOKED_OUTSIDE - 1)) do
      local w = worker_of(worker_id)
      if w.state == 'ready' and not w.refuge and suits(worker_id, request) ~= 'unsuited' then
        return true
      end
    end
    return false
  end
end
