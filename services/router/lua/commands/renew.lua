#!lua flags=allow-oom
-- @require clock
-- Renews the leases of gateway sessions.
--
-- Guarantee: with create = 0 an unknown session stays unknown and is named in the answer. Its lease had ended, or this Redis has
-- lost its data. In both cases its gateway must submit again what it holds.
--
-- ARG router       id of the calling replica
-- ARG lease_ms     lease of the sessions
-- ARG create       1 to store sessions that are not known, else 0
-- ARG sessions...  ids of the sessions
-- Returns {ids of unknown sessions}
read_clock()
local unknown = {}
for i = INDEX.sessions, #ARGV do
  local session = ARGV[i]
  if ARG.create == '1' or redis.call('GET', KEY.session .. session) == ARG.router then
    redis.call('SET', KEY.session .. session, ARG.router)
    redis.call('ZADD', KEY.sessions, now + ARG.lease_ms, session)
  else
    unknown[#unknown + 1] = session
  end
end
return unknown
