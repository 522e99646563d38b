-- Replaces the record of the pool's rollout.
--
-- Guarantee: of several replicas that replace the same revision one succeeds; a record is never a mixture of two.
--
-- ARGV  1 router id   2 revision that it replaces (0: there is none)   3 a field   4... its value, and so on
-- Returns 1, or 0 when the revision has been replaced already
-- @include keys
if (redis.call('HGET', ROLLOUT, 'revision') or '0') ~= ARGV[2] then
  return 0
end
redis.call('DEL', ROLLOUT)
redis.call('HSET', ROLLOUT, unpack(ARGV, 3))
return 1
