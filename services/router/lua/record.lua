#!lua flags=allow-oom
-- Replaces one of the pool's records: of its rollout, or of the rules changed at run time.
--
-- Guarantee: of several replicas that replace the same revision one succeeds; a record is never a mixture of two.
--
-- ARGV  1 router id   2 rollout or rules   3 revision that it replaces (0: there is none)   4 a field   5... its value, and so on
-- Returns 1, or 0 when the revision has been replaced already
-- @include keys
local record = ARGV[2] == 'rollout' and KEY.rollout or KEY.rules
if (redis.call('HGET', record, 'revision') or '0') ~= ARGV[3] then
  return 0
end
redis.call('DEL', record)
redis.call('HSET', record, unpack(ARGV, 4))
return 1
