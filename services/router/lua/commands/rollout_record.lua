#!lua flags=allow-oom
-- Replaces one of the two records of the pool: its rollout, or the class rules that were changed at run time.
--
-- Guarantee: when several replicas replace the same revision, one succeeds. A record is never a mixture of two.
--
-- ARG record     rollout or rules
-- ARG replaces   the revision that is replaced; 0: there is none
-- ARG fields...  a field of the new record, its value, the next field, and so on
-- Returns 1, or 0 when the revision was replaced already
local record = ARG.record == 'rollout' and KEY.rollout or KEY.rules
if (redis.call('HGET', record, 'revision') or '0') ~= ARG.replaces then
  return 0
end
redis.call('DEL', record)
redis.call('HSET', record, unpack(ARGV, INDEX.fields))
return 1
