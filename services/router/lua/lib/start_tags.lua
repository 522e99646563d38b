-- @require clock, fair_queue
-- Start tags: start-time fair queueing by tenant within a class (Goyal, Vin and Cheng, 1996).
--
-- A request's start tag is the end of its tenant's previous request, or the virtual time of the class if that is later. The
-- request ends cost / weight after its tag. Requests go in order of their tags, and virtual time is the tag of the last
-- request that went. So a tenant that asks for much waits behind its own requests. A tenant may run `burst_tokens` ahead of
-- its share before it waits: a tenant that sends little, but unevenly, does not wait behind a noisy one because it sent two
-- requests at once. Work that had its turn before (`at_head`) goes before all tags.
local HEAD = -4503599627370496
local PACE_WEIGHT = 0.05
local BACKLOG = 16384

-- Virtual times are read once a call and then kept up to date here.
local virtual = {}

local function virtual_time(rank)
  virtual[rank] = virtual[rank] or tonumber(redis.call('HGET', KEY.fair_queue, 'v' .. rank) or 0)
  return virtual[rank]
end

local function place_in_line(request_id)
  return string.format('%013d:', redis.call('INCR', KEY.arrivals)) .. request_id
end

-- Returns the tag of the tenant's next request, and where the tenant's previous request ends.
local function next_start(rank, tenant)
  local now_at = virtual_time(rank)
  local ends = math.max(now_at, tonumber(redis.call('ZSCORE', KEY.tenants[rank + 1], tenant) or 0))
  return math.max(now_at, ends - SETTING.burst_tokens), ends
end

-- Returns the start tag, and moves the tenant's next request back by cost / weight.
local function start_tag(rank, tenant, cost, weight)
  local starts, ends = next_start(rank, tenant)
  redis.call('ZADD', KEY.tenants[rank + 1], ends + cost / weight, tenant)
  return starts
end

-- The tag of a request that had its turn before.
local function head_tag(place)
  return HEAD + tonumber(string.sub(place, 1, 13))
end

-- Whether a tenant has BACKLOG tokens or more waiting behind this tag. Such a tenant causes the queue.
local function has_backlog(rank, tenant, tag)
  return tonumber(redis.call('ZSCORE', KEY.tenants[rank + 1], tenant) or 0) - tag >= BACKLOG
end

-- Notes that a request with this tag goes now. `own`: false in a turn that the class got because it had aged.
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
    pace, last, since = unpack(redis.call('HMGET', KEY.fair_queue, 'pace', 'last', 'since' .. rank))
  end
  if last then
    local gap = now - math.max(last, since or 0)
    fields[#fields + 1] = 'pace'
    fields[#fields + 1] = string.format('%.6g', pace and pace + PACE_WEIGHT * (gap - pace) or gap)
  end
  redis.call('HSET', KEY.fair_queue, unpack(fields))
end
