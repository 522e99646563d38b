-- Grants free capacity, if anybody waits for it. What that takes is made only then: most calls find nobody or no capacity, and
-- to make so many functions costs as much as they do.
local function grant_if_any_wait()
  if not anyone_waits() or (count_free() == 0 and redis.call('EXISTS', KEY.kept) == 0) then
    return
  end
  -- @include refuge
  -- @include room
  -- @include suits
  -- @policy
  -- @include hold
  -- @include overtake
  -- @include grant
  grant_ready()
end
