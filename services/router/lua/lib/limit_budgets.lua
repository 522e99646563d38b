-- @require clock
-- What is stored of limits. A budget is a token bucket of one minute's worth. It is stored as one time: when the bucket is full
-- again (the generic cell rate algorithm).
local MINUTE_MS = 60000

-- Stores when the budgets of a limit are full again (ms).
local function store_budgets(limit, requests_at, tokens_at)
  local key = KEY.limit .. limit
  redis.call('HSET', key, 'requests', string.format('%.3f', requests_at), 'tokens', string.format('%.3f', tokens_at))
  redis.call('PEXPIRE', key, math.max(1, math.ceil(math.max(requests_at, tokens_at) - now)))
end

-- Ends a request's share of its limits. `field`: the limits as the request's hash holds them (limits.lua). `difference`: real
-- cost less estimated cost, in tokens; it corrects the token budgets.
local function close_limits(field, request_id, difference)
  for name, tokens in string.gmatch(field, '(%S+) (%d+)') do
    redis.call('SREM', KEY.open .. name, request_id)
    local requests_at, tokens_at = unpack(redis.call('HMGET', KEY.limit .. name, 'requests', 'tokens'))
    if difference ~= 0 and tonumber(tokens) > 0 then
      store_budgets(name, tonumber(requests_at or 0), math.max(tokens_at or 0, now) + difference * MINUTE_MS / tokens)
    end
  end
end
