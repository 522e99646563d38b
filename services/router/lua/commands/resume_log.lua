-- @require clock
-- Appends to the resume logs of streams what their gateways have written.
--
-- Guarantee: a log has no gap and no part twice, however often a part is sent, and whatever this Redis has lost in between.
--
-- ARG max_logs         logs of the pool at most
-- ARG max_tenant_logs  logs of a tenant at most
-- ARG max_bytes        bytes of a log at most
-- ARG keep_ms          how long a log is kept after its last part
-- ARG parts...         for each part: request id, tenant, bytes of the log before this part, the part
-- Returns {length of each log; -1 where there is no space}
local MAX_BYTES, KEEP_MS = tonumber(ARG.max_bytes), tonumber(ARG.keep_ms)

local function is_full(logs, most)
  redis.call('ZREMRANGEBYSCORE', logs, '-inf', now)
  return redis.call('ZCARD', logs) >= tonumber(most)
end

-- Keeps the log somewhat longer than asked for, so that not every part has to set the time again.
local function keep(request, tenant)
  if redis.call('PTTL', KEY.log .. request) >= KEEP_MS then
    return
  end
  local expires = now + math.floor(1.25 * KEEP_MS)
  redis.call('PEXPIREAT', KEY.log .. request, expires)
  for _, logs in ipairs({ KEY.logs, KEY.tenant_logs .. tenant }) do
    redis.call('ZADD', logs, expires, request)
    redis.call('PEXPIREAT', logs, expires)
  end
end

local function append(request, tenant, offset, data)
  local length = redis.call('STRLEN', KEY.log .. request)
  local missing = offset <= length and string.sub(data, length - offset + 1) or ''
  if missing == '' then
    return length
  end
  if length + #missing > MAX_BYTES
    or length == 0
      and (is_full(KEY.logs, ARG.max_logs) or is_full(KEY.tenant_logs .. tenant, ARG.max_tenant_logs))
  then
    return -1
  end
  redis.call('APPEND', KEY.log .. request, missing)
  keep(request, tenant)
  return length + #missing
end

read_clock()
local lengths = {}
for i = INDEX.parts, #ARGV, 4 do
  lengths[#lengths + 1] = append(ARGV[i], ARGV[i + 1], tonumber(ARGV[i + 2]), ARGV[i + 3])
end
return lengths
