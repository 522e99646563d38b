#!lua flags=allow-oom
-- Attaches a worker, renews its lease, corrects what we believe of it, and grants to it.
--
-- Guarantee: a lower epoch than the one known changes nothing. A higher one means that the process was started anew: all
-- that the old one held is taken back, and so it is when its engine makes no progress.
--
-- ARGV  1 router id   2 ageing of priority   3 of default   4 of flex   5 of batch   6 preempting   7 preemptible
--       8 worker id   9 epoch   10 lease, ms   11 state: ready, or any other word for "grant nothing"   12 slots
--       13 KV tokens   14 KV tokens in use   15 requests that wait in the engine   16 model version
--       17 adapters it serves (",a,b," or "")   18 those in memory   19 address   20 the whole heartbeat, serialised
--       21 prompt tokens that it computes in a second, 0 when that is not known
-- Returns {1, or 0 for a stale epoch, events}
local ROUTER = ARGV[1]
-- @include keys
-- @clock
-- @include rules
-- @include events
-- @include turns
-- @include limits
-- @policy order
-- @include workers
-- @include free
-- @include caches
-- @include release
-- @include granting
-- @include revoke
local PRESSED = 0.95 -- of the KV cache in use while requests wait: the engine would only queue more
local worker_id, epoch, version = ARGV[8], ARGV[9], ARGV[16]
local kv_tokens, kv_used, waiting = tonumber(ARGV[13]), tonumber(ARGV[14]), tonumber(ARGV[15])
local key = KEY.worker .. worker_id

-- Epochs are decimal strings of up to 20 digits: too long for Lua's numbers.
local function is_older(a, b)
  return #a < #b or (#a == #b and a < b)
end

local known_epoch, known_version = unpack(redis.call('HMGET', key, 'epoch', 'version'))
if known_epoch and is_older(epoch, known_epoch) then
  return { 0, events }
end
if known_epoch and known_epoch ~= epoch then
  revoke_all(worker_id, 'restarted')
end
if ARGV[11] == 'stuck' then
  revoke_all(worker_id, 'stuck')
end
if known_epoch ~= epoch or known_version ~= version then
  new_cache(worker_id)
end
local pressed = waiting > 0 and kv_used >= PRESSED * kv_tokens
redis.call('HSET', key, 'epoch', epoch, 'router', ROUTER, 'state', ARGV[11], 'slots', ARGV[12], 'kv_tokens', kv_tokens,
  'kv_used', kv_used, 'pressed', pressed and 1 or 0, 'version', version, 'adapters', ARGV[17], 'loaded', ARGV[18],
  'address', ARGV[19], 'heartbeat', ARGV[20], 'beat_ms', now,
  'quiet_ms', now + ARGV[10] / 2, 'prefill', ARGV[21] / 1000)
forget_worker(worker_id)
count_slots(worker_id, ARGV[11] == 'ready' and tonumber(ARGV[12]) or 0)
redis.call('ZADD', KEY.workers, now + ARGV[10], worker_id)
redis.call('SET', KEY.seen, now)
refresh_free(worker_id)
grant_if_any_wait()
return { 1, events }
