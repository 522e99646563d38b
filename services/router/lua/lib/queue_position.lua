-- @require fair_queue
-- Returns how many requests go before the one at this place, and when it would go (ms) at the present pace.
local function queue_position(rank, place)
  local before = redis.call('ZRANK', KEY.queues[rank + 1], place) or 0
  for better = 1, rank do
    before = before + length(better - 1)
  end
  return before, math.ceil((before + 1) * (redis.call('HGET', KEY.fair_queue, 'pace') or 0))
end
