-- Attaches a worker, renews its lease, corrects what we believe of it, and grants to it.
--
-- Guarantee: a lower epoch than the one known changes nothing. A higher one means that the process was started anew: all
-- that the old one held is taken back.
--
-- ARGV  1 router id   2 worker id   3 epoch   4 lease, ms   5 state: ready, or any other word for "grant nothing"
--       6 slots   7 KV tokens   8 model version   9 address   10 the whole heartbeat, serialised, for operators
-- Returns {1, or 0 for a stale epoch, events}
local ROUTER = ARGV[1]
-- @include keys
-- @include now
-- @include events
-- @include free
-- @include release
-- @include place
-- @include grant
-- @include revoke
local worker_id, epoch = ARGV[2], ARGV[3]
local key = WORKER .. worker_id

-- Epochs are decimal strings of up to 20 digits: too long for Lua's numbers.
local function is_older(a, b)
  return #a < #b or (#a == #b and a < b)
end

-- The sum again from its parts, for a worker that requests were adopted for before it attached.
local function reserved_kv()
  local sum = 0
  for _, request_id in ipairs(redis.call('SMEMBERS', HELD .. worker_id)) do
    sum = sum + (redis.call('HGET', REQUEST .. request_id, 'kv') or 0)
  end
  return sum
end

local known = redis.call('HGET', key, 'epoch')
if known and is_older(epoch, known) then
  return { 0, events }
end
if known and known ~= epoch then
  revoke_all(worker_id, 'restarted')
end
if known ~= epoch then
  redis.call('HSET', key, 'kv_reserved', reserved_kv())
end
redis.call('HSET', key, 'epoch', epoch, 'router', ROUTER, 'state', ARGV[5], 'slots', ARGV[6], 'kv_tokens', ARGV[7],
  'version', ARGV[8], 'address', ARGV[9], 'heartbeat', ARGV[10], 'beat_ms', now)
redis.call('ZADD', WORKERS, now + ARGV[4], worker_id)
redis.call('SET', SEEN, now)
refresh_free(worker_id)
grant_ready()
return { 1, events }
