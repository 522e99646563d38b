-- @require workers
-- On which side of a rollout a worker is, while there is one. The field `side` of its hash says it:
--   closed   requests may start on another version only, as the rollout record says (`admits`): it gets no grant
--   canary   it has the version that is on trial (`canary` of the record)
--   stable   it has another version meanwhile
-- Without a rollout that tells workers apart, it is empty. Whatever reads a worker has its side, so a grant costs no more.

local function side_of(version)
  local admits, canary = unpack(redis.call('HMGET', KEY.rollout, 'admits', 'canary'))
  if admits and admits ~= '' and version ~= admits then
    return 'closed'
  end
  if not canary or canary == '' then
    return ''
  end
  return version == canary and 'canary' or 'stable'
end
