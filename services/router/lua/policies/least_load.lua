-- @require worker_filter
-- Placement by load alone: the least loaded worker that fits.
--
-- A policy has two files. NAME.order.lua has
--   order_of(worker_id, load)                place of a free worker in the order; the lowest number comes first
-- NAME.lua has
--   choose(request)                          a worker id, or nil and the reason; and the tokens it expects to be cached there
--   preferred_worker(request)                the worker that it would best wait for, or nil
--   note_grant(request, worker_id, cached)   called after a grant
local function choose(request)
  local worker_id, reason = first_fit(request)
  return worker_id, reason, 0
end

local function preferred_worker() end

local function note_grant() end
