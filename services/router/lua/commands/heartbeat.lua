#!lua flags=allow-oom
-- @require clock, class_rules, events, workers, ready_slots, worker_capacity, prefix_index, release, revoke, grant_waiting
-- @require sides
-- Attaches a worker, renews its lease, updates what is stored of it, and grants to it.
--
-- Guarantee: a lower epoch than the stored one changes nothing. A higher epoch means that the process was started again: all
-- grants of the old process are taken back. They are also taken back when the worker's engine makes no progress (stuck).
--
-- ARG worker_id             id of the worker
-- ARG epoch                 epoch of its process
-- ARG lease_ms              lease of the worker
-- ARG state                 ready, or any other word for "grant nothing"; stuck also takes its grants back
-- ARG slots                 requests that it runs at once
-- ARG kv_tokens             size of its KV cache
-- ARG kv_tokens_used        tokens in its KV cache that are in use
-- ARG waiting               requests that wait in its engine
-- ARG version               version of the model that it serves
-- ARG adapters              adapters that it serves (",a,b," or "")
-- ARG loaded_adapters       adapters in its memory (",a,b," or "")
-- ARG address               address of its gRPC server
-- ARG heartbeat             the whole heartbeat, serialised, for operators
-- ARG prefill_tokens_per_s  prompt tokens that it computes in a second; 0: not known
-- Returns {1, or 0 for a stale epoch; events}
local PRESSED = 0.95 -- share of the KV cache in use, while requests wait, from which on a grant would only queue in the engine
local worker_id, epoch, version = ARG.worker_id, ARG.epoch, ARG.version
local kv_tokens, kv_used, waiting = tonumber(ARG.kv_tokens), tonumber(ARG.kv_tokens_used), tonumber(ARG.waiting)
local key = KEY.worker .. worker_id

-- Epochs are decimal strings of up to 20 digits: too long for Lua's numbers.
local function is_older(a, b)
  return #a < #b or (#a == #b and a < b)
end

read_clock()
local known_epoch, known_version = unpack(redis.call('HMGET', key, 'epoch', 'version'))
if known_epoch and is_older(epoch, known_epoch) then
  return { 0, events }
end
if known_epoch and known_epoch ~= epoch then
  revoke_all(worker_id, 'restarted')
end
if ARG.state == 'stuck' then
  revoke_all(worker_id, 'stuck')
end
if known_epoch ~= epoch or (known_version or '') == '' then
  new_cache(worker_id)
elseif known_version ~= version then
  change_cache(worker_id, known_version, version)
end
local side = side_of(version)
local pressed = waiting > 0 and kv_used >= PRESSED * kv_tokens
redis.call('HSET', key, 'epoch', epoch, 'router', ARG.router, 'state', ARG.state, 'slots', ARG.slots, 'kv_tokens', kv_tokens,
  'kv_used', kv_used, 'pressed', pressed and 1 or 0, 'version', version, 'adapters', ARG.adapters,
  'loaded', ARG.loaded_adapters, 'address', ARG.address, 'heartbeat', ARG.heartbeat, 'beat_ms', now,
  'quiet_ms', now + ARG.lease_ms / 2, 'prefill', ARG.prefill_tokens_per_s / 1000, 'side', side)
forget_worker(worker_id)
count_slots(worker_id, ARG.state == 'ready' and side ~= 'closed' and tonumber(ARG.slots) or 0)
redis.call('ZADD', KEY.workers, now + ARG.lease_ms, worker_id)
redis.call('SET', KEY.seen, now)
refresh_free(worker_id)
grant_waiting()
return { 1, events }
