-- @require clock, limit_budgets
-- Limits by name: requests a minute, tokens a minute, and concurrency. A limit of 0 is no limit.

-- Reads limits from the arguments, four values each, from the index `first` on.
local function parse_limits(first)
  local limits = {}
  for i = first, #ARGV, 4 do
    limits[#limits + 1] = {
      name = ARGV[i], requests = tonumber(ARGV[i + 1]), tokens = tonumber(ARGV[i + 2]), concurrency = tonumber(ARGV[i + 3]),
    }
  end
  return limits
end

-- Returns when a budget would be full again after `amount` is spent, and how long to wait before it may be spent (ms).
-- Returns nil when `amount` is more than the budget ever holds.
local function spend(full_at, budget, amount)
  if amount > budget then
    return nil
  end
  local after = math.max(full_at or 0, now) + amount * MINUTE_MS / budget
  return after, math.max(0, after - now - MINUTE_MS)
end

local function remaining(full_at, budget)
  return math.floor(budget * (1 - math.max(0, full_at - now) / MINUTE_MS))
end

-- Looks at one limit for a request of this cost. Returns the wait (ms): 0 lets the request through, nil never will. Notes in
-- `limit` when the budgets are full now (`_at`) and when they would be full after this request (`_then`).
local function weigh(limit, cost)
  local requests, tokens = unpack(redis.call('HMGET', KEY.limit .. limit.name, 'requests', 'tokens'))
  local wait = 0
  limit.requests_at, limit.tokens_at = tonumber(requests or 0), tonumber(tokens or 0)
  for _, budget in ipairs({ { 'requests', 1 }, { 'tokens', cost } }) do
    local kind, amount = unpack(budget)
    if limit[kind] > 0 then
      local after, needed = spend(limit[kind .. '_at'], limit[kind], amount)
      if not after then
        return nil
      end
      wait = math.max(wait, needed)
      limit[kind .. '_then'] = after
    end
  end
  if limit.concurrency > 0 and redis.call('SCARD', KEY.open .. limit.name) >= limit.concurrency then
    wait = math.max(wait, 1000)
  end
  return wait
end

-- Returns the name of the first limit that refuses the request, and the wait (ms; 0: for ever). Returns nil when none does.
local function refusing(limits, cost)
  for _, limit in ipairs(limits) do
    local wait = weigh(limit, cost)
    if wait ~= 0 then
      return limit.name, math.ceil(wait or 0)
    end
  end
end

-- Charges what `weigh` noted.
local function charge(limits)
  for _, limit in ipairs(limits) do
    limit.requests_at = limit.requests_then or limit.requests_at
    limit.tokens_at = limit.tokens_then or limit.tokens_at
    if limit.requests > 0 or limit.tokens > 0 then
      store_budgets(limit.name, limit.requests_at, limit.tokens_at)
    end
  end
end

-- The limits as a request's hash holds them: "name tokens-a-minute name tokens-a-minute".
local function limits_field(limits)
  local parts = {}
  for _, limit in ipairs(limits) do
    parts[#parts + 1] = limit.name .. ' ' .. string.format('%d', limit.tokens)
  end
  return table.concat(parts, ' ')
end

-- Counts a request against the concurrency of its limits.
local function open_limits(field, request_id)
  for name in string.gmatch(field, '(%S+) %d+') do
    redis.call('SADD', KEY.open .. name, request_id)
  end
end

-- What clients are told: what remains of each budget, and the time (ms) until it is full.
local function limit_states(limits)
  local states = {}
  for _, limit in ipairs(limits) do
    states[#states + 1] = {
      name = limit.name,
      requests_limit = limit.requests, requests_remaining = math.max(0, remaining(limit.requests_at, limit.requests)),
      requests_reset_ms = math.max(0, math.ceil(limit.requests_at - now)),
      tokens_limit = limit.tokens, tokens_remaining = math.max(0, remaining(limit.tokens_at, limit.tokens)),
      tokens_reset_ms = math.max(0, math.ceil(limit.tokens_at - now)),
    }
  end
  return states
end
