-- Whose turn it is. Within a class, start-time fair queueing by tenant (Goyal, Vin and Cheng, 1996): a request's start tag
-- is where its tenant's last one ends, or the class's virtual time if that is later; it ends cost / weight after. Requests
-- go by start tag, and virtual time is the start tag of the last one that went. So whoever asks for much waits for itself.
-- A tenant may run BURST tokens ahead of its share before it waits for it: those who send little, but not evenly, do not
-- wait behind a flood for having sent two requests at once. Equal tags go by arrival, and work that had its turn already
-- (`at_head`) goes before all tags.
--
-- KEY.turns holds for each rank: v (virtual time), tokens (waiting), since (ms of the last turn that it had of its own),
-- overtaken (times that its head was), fair (ms of its last fair work, free.lua); and pace (ms between grants while others
-- wait), last (ms of the last grant), credit (turns due to aged classes), slots and ready (of workers that are: all their
-- slots, and how many they are), sheltered (granted requests that a refuge is for), and for reap.lua reaped (ms of its last
-- run), spared (ms until which nobody is taken for lost), shelter (slots of sheltered requests of late) and shelter_ms (when
-- that was reckoned).
-- @figures
local HEAD = -4503599627370496
local PACE_WEIGHT = 0.05
local BACKLOG = 16384

-- Requests that wait in each class: asked for once a call, then kept in step.
local lengths = {}

local function length(rank)
  lengths[rank] = lengths[rank] or redis.call('ZCARD', KEY.queues[rank + 1])
  return lengths[rank]
end

local function anyone_waits()
  return length(0) + length(1) + length(2) + length(3) > 0
end

local function place_in_line(request_id)
  return string.format('%013d:', redis.call('INCR', KEY.arrivals)) .. request_id
end

local function of_place(place)
  return string.sub(place, 15)
end

-- Virtual times: asked for once a call, then kept in step.
local virtual = {}

local function virtual_time(rank)
  virtual[rank] = virtual[rank] or tonumber(redis.call('HGET', KEY.turns, 'v' .. rank) or 0)
  return virtual[rank]
end

-- Where the next request of a tenant begins, and where its last one ends.
local function next_start(rank, tenant)
  local now_at = virtual_time(rank)
  local ends = math.max(now_at, tonumber(redis.call('ZSCORE', KEY.tenants[rank + 1], tenant) or 0))
  return math.max(now_at, ends - BURST), ends
end

-- Whether a tenant has BACKLOG tokens or more waiting from this tag on: then it makes the queue.
local function has_backlog(rank, tenant, tag)
  return tonumber(redis.call('ZSCORE', KEY.tenants[rank + 1], tenant) or 0) - tag >= BACKLOG
end

-- Gives the start tag, and notes where the tenant's next one begins.
local function start_tag(rank, tenant, cost, weight)
  local starts, ends = next_start(rank, tenant)
  redis.call('ZADD', KEY.tenants[rank + 1], ends + cost / weight, tenant)
  return starts
end

-- The true cost is known now: what comes next begins earlier or later.
local function correct_tag(rank, tenant, difference, weight)
  redis.call('ZADD', KEY.tenants[rank + 1], 'XX', 'INCR', difference / weight, tenant)
end

local function head_tag(place)
  return HEAD + tonumber(string.sub(place, 1, 13))
end

local function join(rank, place, tag, tokens)
  if length(rank) == 0 then
    redis.call('HSET', KEY.turns, 'since' .. rank, now)
  end
  lengths[rank] = length(rank) + redis.call('ZADD', KEY.queues[rank + 1], tag, place)
  redis.call('HINCRBY', KEY.turns, 'tokens' .. rank, tokens)
end

-- Requests that wait for a worker's cache (overtake.lua), or for the refuge (refuge.lua), in order of their tags.
local function wanted(worker_id, rank)
  return KEY.wanted .. worker_id .. ':' .. string.format('%d', rank)
end

local function no_longer_wait(rank, place)
  local worker_id = (OVERTAKING > 0 or ISOLATION > 0) and redis.call('HGET', KEY.request .. of_place(place), 'wants')
  if worker_id then
    redis.call('ZREM', wanted(worker_id, rank), place)
    redis.call('HDEL', KEY.request .. of_place(place), 'wants')
  end
end

local function drop(rank, place)
  lengths[rank] = length(rank) - redis.call('ZREM', KEY.queues[rank + 1], place)
end

local function leave(rank, place, tokens)
  no_longer_wait(rank, place)
  drop(rank, place)
  -- Not `-tokens`: the negative of 0 prints as "-0", which Redis 7.0 takes for no integer.
  redis.call('HINCRBY', KEY.turns, 'tokens' .. rank, 0 - tokens)
end

-- Notes that a request of this tag goes now. `own`: not in a turn that ageing gave it.
local function take_turn(rank, tag, own)
  local fields = { 'last', now }
  if tag > virtual_time(rank) then
    virtual[rank] = tag
    fields[#fields + 1] = 'v' .. rank
    fields[#fields + 1] = string.format('%.17g', tag)
  end
  if own then
    fields[#fields + 1] = 'since' .. rank
    fields[#fields + 1] = now
  end
  local pace, last, since
  if length(rank) > 0 then
    pace, last, since = unpack(redis.call('HMGET', KEY.turns, 'pace', 'last', 'since' .. rank))
  end
  if last then
    local gap = now - math.max(last, since or 0)
    fields[#fields + 1] = 'pace'
    fields[#fields + 1] = string.format('%.6g', pace and pace + PACE_WEIGHT * (gap - pace) or gap)
  end
  redis.call('HSET', KEY.turns, unpack(fields))
end

-- Requests that go before one at this place, and when it would go (ms) at the present pace.
local function outlook(rank, place)
  local before = redis.call('ZRANK', KEY.queues[rank + 1], place) or 0
  for better = 1, rank do
    before = before + length(better - 1)
  end
  return before, math.ceil((before + 1) * (redis.call('HGET', KEY.turns, 'pace') or 0))
end
