-- Clears away what time has ended: lapsed sessions, lost workers, requests past their deadline. Then grants.
--
-- Guarantee: safe to run from every replica at any time; does at most `limit` of each kind of work.
--
-- ARGV  1 router id   2 limit
-- Returns {{sessions, workers, requests reaped}, events}
local ROUTER = ARGV[1]
-- @include keys
-- @include now
-- @include events
-- @include free
-- @include release
-- @include place
-- @include grant
-- @include revoke
local limit = tonumber(ARGV[2])

local function due(key)
  return redis.call('ZRANGE', key, '-inf', now, 'BYSCORE', 'LIMIT', 0, limit)
end

-- One with more requests than the limit stays for the next round.
local function reap_session(session)
  for _, request_id in ipairs(redis.call('SRANDMEMBER', OWNED .. session, limit)) do
    if not release(request_id) then
      redis.call('SREM', OWNED .. session, request_id)
    end
  end
  if redis.call('SCARD', OWNED .. session) == 0 then
    redis.call('DEL', SESSION .. session)
    redis.call('ZREM', SESSIONS, session)
  end
end

local function reap_worker(worker_id)
  redis.call('ZREM', WORKERS, worker_id)
  redis.call('ZREM', FREE, worker_id)
  redis.call('DEL', WORKER .. worker_id)
  revoke_all(worker_id, 'lost')
end

local sessions, workers, requests = due(SESSIONS), due(WORKERS), due(DEADLINES)
for _, session in ipairs(sessions) do
  reap_session(session)
end
for _, worker_id in ipairs(workers) do
  reap_worker(worker_id)
end
for _, request_id in ipairs(requests) do
  if redis.call('EXISTS', REQUEST .. request_id) == 1 then
    expire(request_id)
  else
    redis.call('ZREM', DEADLINES, request_id)
  end
end
grant_ready()
return { { #sessions, #workers, #requests }, events }
