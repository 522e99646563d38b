-- Adds to the logs of streams what their gateways have written.
--
-- Guarantee: a log has no hole and nothing twice, however often a part comes, and whatever this Redis has lost meanwhile.
--
-- ARGV  1 router id   2 logs of the pool, at most   3 of a tenant   4 bytes of a log   5 kept for, ms
--       6... a request id, its tenant, bytes of its log before this part, the part, and so on
-- Returns {length of each log, -1 where there is no room}
-- @include keys
-- @clock
local STREAMS, OF_TENANT, BYTES, KEEP = tonumber(ARGV[2]), tonumber(ARGV[3]), tonumber(ARGV[4]), tonumber(ARGV[5])

local function is_full(logs, most)
  redis.call('ZREMRANGEBYSCORE', logs, '-inf', now)
  return redis.call('ZCARD', logs) >= most
end

-- For somewhat longer than asked for, so that it is not said again with every part.
local function keep(request, tenant)
  if redis.call('PTTL', KEY.log .. request) >= KEEP then
    return
  end
  local expires = now + math.floor(1.25 * KEEP)
  redis.call('PEXPIREAT', KEY.log .. request, expires)
  for _, logs in ipairs({ KEY.logs, KEY.tenant_logs .. tenant }) do
    redis.call('ZADD', logs, expires, request)
    redis.call('PEXPIREAT', logs, expires)
  end
end

local function write(request, tenant, offset, data)
  local length = redis.call('STRLEN', KEY.log .. request)
  local missing = offset <= length and string.sub(data, length - offset + 1) or ''
  if missing == '' then
    return length
  end
  if length + #missing > BYTES
    or length == 0 and (is_full(KEY.logs, STREAMS) or is_full(KEY.tenant_logs .. tenant, OF_TENANT)) then
    return -1
  end
  redis.call('APPEND', KEY.log .. request, missing)
  keep(request, tenant)
  return length + #missing
end

local lengths = {}
for i = 6, #ARGV, 4 do
  lengths[#lengths + 1] = write(ARGV[i], ARGV[i + 1], tonumber(ARGV[i + 2]), ARGV[i + 3])
end
return lengths
