#!lua flags=allow-oom
-- Renews the leases of gateway sessions.
--
-- Guarantee: with create = 0 a session that is not known stays unknown and is named in the answer: either its lease had
-- run out or this Redis has lost its data; in both cases its gateway must submit again what it holds.
--
-- ARGV  1 router id   2 lease, ms   3 create (1 or 0)   4... session ids
-- Returns {ids of unknown sessions}
local ROUTER = ARGV[1]
-- @include keys
-- @clock
local unknown = {}
for i = 4, #ARGV do
  local session = ARGV[i]
  if ARGV[3] == '1' or redis.call('GET', KEY.session .. session) == ROUTER then
    redis.call('SET', KEY.session .. session, ROUTER)
    redis.call('ZADD', KEY.sessions, now + ARGV[2], session)
  else
    unknown[#unknown + 1] = session
  end
end
return unknown
