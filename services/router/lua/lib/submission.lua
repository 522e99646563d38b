-- @require clock, events, limits, fair_queue
-- The request that a call of the script submit is about: its arguments, and how it is stored and answered.
--
-- ARG session             id of the gateway session
-- ARG session_lease_ms    lease of the session
-- ARG request_id          id of the request
-- ARG attempt             number of the attempt, from 1
-- ARG rank                class: 0 priority, 1 default, 2 flex, 3 batch
-- ARG tenant              tenant that the request is charged to
-- ARG weight              share of the tenant within its class
-- ARG prompt_tokens       tokens of the prompt
-- ARG tokens              estimate of all tokens, with those of the answer: the cost
-- ARG give_up_after_ms    longest wait in the queue
-- ARG objective_ms        objective for the time to first token
-- ARG at_head             1 for work that had its turn before, else 0
-- ARG max_queued          longest queue of the class, in requests
-- ARG max_queued_tokens   longest queue of the class, in tokens
-- ARG excluded            workers that the request must not go to (",a,b," or "")
-- ARG version             version of the model that it needs, or ""; after a "?", that it prefers (worker_filter.lua)
-- ARG adapter             adapter that it needs, or ""
-- ARG canary              1 if it asks for the version that is on trial, else 0
-- ARG prefix_hashes       prefix hashes of the prompt ("hash.tokens hash.tokens")
-- ARG running_on          worker that runs the request already, or ""
-- ARG running_epoch       epoch of that worker
-- ARG no_worker_grace_ms  how long a pool without workers still queues
-- ARG limits...           for each limit: name, requests a minute, tokens a minute, concurrency; 0 is no limit
local session, request_id, attempt = ARG.session, ARG.request_id, tonumber(ARG.attempt)
local rank, tenant, weight, cost = tonumber(ARG.rank), ARG.tenant, tonumber(ARG.weight), tonumber(ARG.tokens)
local at_head, running_on = ARG.at_head == '1', ARG.running_on
local limits = parse_limits(INDEX.limits)
local key = KEY.request .. request_id

-- Returns what the script returns. `document`: the reply as JSON, if it was made already; it is used when there are no limits
-- to report.
local function answer(reply, document)
  if document and #limits == 0 then
    return { document, events }
  end
  for _, limit in ipairs(limits) do
    if not limit.requests_at then
      weigh(limit, 0)
    end
  end
  if #limits > 0 then
    reply.limits = limit_states(limits)
  end
  return { cjson.encode(reply), events }
end

-- Returns the request as grants and policies see it.
local function request_with_tag(tag)
  return {
    id = request_id, session = session, attempt = attempt, rank = rank, tenant = tenant, tag = tag, kv = cost,
    prompt = tonumber(ARG.prompt_tokens), excluded = ARG.excluded, version = ARG.version, adapter = ARG.adapter,
    prefix_hashes = ARG.prefix_hashes, submitted = now, canary = ARG.canary == '1',
  }
end

-- Stores the request. More fields of its hash, and their values, may follow.
local function store_request(place, deadline, ...)
  local named = limits_field(limits)
  redis.call('HSET', key, 'session', session, 'attempt', attempt, 'rank', rank, 'tenant', tenant, 'weight', ARG.weight,
    'prompt', ARG.prompt_tokens, 'cost', cost, 'excluded', ARG.excluded, 'version', ARG.version, 'adapter', ARG.adapter,
    'markers', ARG.prefix_hashes, 'objective', ARG.objective_ms, 'submitted', now, 'granted', now, 'deadline', deadline,
    'place', place, 'limits', named, 'canary', ARG.canary, ...)
  redis.call('SADD', KEY.owned .. session, request_id)
  open_limits(named, request_id)
end

-- Returns the answer to a request that a limit refuses, or nil.
local function refused_by_limit()
  local limit, retry_after = refusing(limits, cost)
  if limit then
    return { kind = 'limited', limit = limit, retry_after_ms = retry_after }
  end
end
