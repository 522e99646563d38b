-- Limits of requests a minute, tokens a minute and concurrency, by name. A budget is a token bucket of one minute's worth,
-- kept as the time at which it is whole again (the generic cell rate algorithm); a limit of 0 is none.
local MINUTE_MS = 60000

local function parse_limits(first)
  local limits = {}
  for i = first, #ARGV, 4 do
    limits[#limits + 1] = {
      name = ARGV[i], requests = tonumber(ARGV[i + 1]), tokens = tonumber(ARGV[i + 2]), concurrency = tonumber(ARGV[i + 3]),
    }
  end
  return limits
end

-- When a budget would be whole again after spending `amount`, and how long to wait before it may be spent.
-- nil: more than the budget ever holds.
local function spend(whole_at, budget, amount)
  if amount > budget then
    return nil
  end
  local after = math.max(whole_at or 0, now) + amount * MINUTE_MS / budget
  return after, math.max(0, after - now - MINUTE_MS)
end

local function remaining(whole_at, budget)
  return math.floor(budget * (1 - math.max(0, whole_at - now) / MINUTE_MS))
end

-- Where a limit would stand with this request: `wait` is 0 when it lets it through, nil when it never will.
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

-- The first limit in the way and how long (ms; 0: for ever), or nil.
local function refusing(limits, cost)
  for _, limit in ipairs(limits) do
    local wait = weigh(limit, cost)
    if wait ~= 0 then
      return limit.name, math.ceil(wait or 0)
    end
  end
end

local function keep(limit, requests_at, tokens_at)
  local key = KEY.limit .. limit
  redis.call('HSET', key, 'requests', string.format('%.3f', requests_at), 'tokens', string.format('%.3f', tokens_at))
  redis.call('PEXPIRE', key, math.max(1, math.ceil(math.max(requests_at, tokens_at) - now)))
end

local function charge(limits)
  for _, limit in ipairs(limits) do
    limit.requests_at = limit.requests_then or limit.requests_at
    limit.tokens_at = limit.tokens_then or limit.tokens_at
    if limit.requests > 0 or limit.tokens > 0 then
      keep(limit.name, limit.requests_at, limit.tokens_at)
    end
  end
end

-- What a request's hash keeps of its limits: "name tokens-a-minute name tokens-a-minute".
local function limits_field(limits)
  local parts = {}
  for _, limit in ipairs(limits) do
    parts[#parts + 1] = limit.name .. ' ' .. string.format('%d', limit.tokens)
  end
  return table.concat(parts, ' ')
end

local function open_limits(field, request_id)
  for name in string.gmatch(field, '(%S+) %d+') do
    redis.call('SADD', KEY.open .. name, request_id)
  end
end

local function close_limits(field, request_id, difference)
  for name, tokens in string.gmatch(field, '(%S+) (%d+)') do
    redis.call('SREM', KEY.open .. name, request_id)
    local requests_at, tokens_at = unpack(redis.call('HMGET', KEY.limit .. name, 'requests', 'tokens'))
    if difference ~= 0 and tonumber(tokens) > 0 then
      keep(name, tonumber(requests_at or 0), math.max(tokens_at or 0, now) + difference * MINUTE_MS / tokens)
    end
  end
end

-- For clients: remaining counts and the time (ms) until a budget is whole.
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
