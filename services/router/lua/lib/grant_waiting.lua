-- @require fair_queue, free_workers
-- Grants free capacity if any request waits. The functions that this takes are made only then: most calls find no queue or no
-- capacity, and to make so many functions costs as much as the rest of the call.
local function grant_waiting()
  if not anyone_waits() or (count_free() == 0 and redis.call('EXISTS', KEY.reserved) == 0) then
    return
  end
  -- @load grant
  check_isolation()
  grant_in_order()
end
