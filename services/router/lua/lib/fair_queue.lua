-- @require clock
-- The queues of the four classes: one sorted set a class. A member is a place in line, "arrival:request id". Its score is the
-- request's start tag (start_tags.lua). The lowest score goes first; equal scores go in order of arrival.
--
-- KEY.fair_queue is one hash for the whole pool. It holds for each rank (0 to 3):
--   v<rank>          virtual time of the class
--   tokens<rank>     estimated tokens that wait
--   since<rank>      time (ms) of the last turn that the class had of its own
--   overtaken<rank>  how often the present head of the class was bypassed (cache_bypass.lua)
--   fair<rank>       time (ms) of the last work that reserved slots are for (eligibility.lua)
-- and for the pool:
--   pace, last             ms between grants while requests wait; time (ms) of the last grant
--   credit                 turns since an aging class got one
--   slots, ready           slots of all ready workers; number of these workers
--   sheltered              granted requests that count for the size of the isolation pool
--   shelter, shelter_ms    average of `sheltered` over the last seconds; time (ms) of its last update (isolation_sizing.lua)
--   reaped, spared         time (ms) of the last reap; time (ms) until which no lease counts as lapsed (reap.lua)

-- Lengths are read once a call and then kept up to date here.
local lengths = {}

local function length(rank)
  lengths[rank] = lengths[rank] or redis.call('ZCARD', KEY.queues[rank + 1])
  return lengths[rank]
end

local function anyone_waits()
  return length(0) + length(1) + length(2) + length(3) > 0
end

-- The request id of a place in line.
local function request_at(place)
  return string.sub(place, 15)
end

-- The sorted set of places that wait for one worker's cache (cache_bypass.lua) or, as '*', for the isolation pool.
local function waiting_for(worker_id, rank)
  return KEY.waiting_for .. worker_id .. ':' .. string.format('%d', rank)
end

local function stop_waiting_for_worker(rank, place)
  local worker_id = (SETTING.overtaking > 0 or SETTING.isolation > 0)
    and redis.call('HGET', KEY.request .. request_at(place), 'wants')
  if worker_id then
    redis.call('ZREM', waiting_for(worker_id, rank), place)
    redis.call('HDEL', KEY.request .. request_at(place), 'wants')
  end
end

local function join(rank, place, tag, tokens)
  if length(rank) == 0 then
    redis.call('HSET', KEY.fair_queue, 'since' .. rank, now)
  end
  lengths[rank] = length(rank) + redis.call('ZADD', KEY.queues[rank + 1], tag, place)
  redis.call('HINCRBY', KEY.fair_queue, 'tokens' .. rank, tokens)
end

-- Removes a place whose request no longer exists.
local function drop(rank, place)
  lengths[rank] = length(rank) - redis.call('ZREM', KEY.queues[rank + 1], place)
end

local function leave(rank, place, tokens)
  stop_waiting_for_worker(rank, place)
  drop(rank, place)
  -- Not `-tokens`: the negative of 0 prints as "-0", and Redis 7.0 refuses that as an integer.
  redis.call('HINCRBY', KEY.fair_queue, 'tokens' .. rank, 0 - tokens)
end
