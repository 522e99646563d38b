-- Placement by load alone: the least loaded worker that fits.
--
-- Every policy has two files. NAME.order.lua has order_of(worker_id, load): the rank of a free worker, lowest first.
-- NAME.lua has choose(request): a worker id, or nil and why, with the tokens that it expects to be cached there;
-- wish(request): the worker that it would best wait for, or nil; and took(request, worker_id, cached), called when it has
-- been granted.
local function choose(request)
  local worker_id, reason = first_fit(request)
  return worker_id, reason, 0
end

local function wish() end

local function took() end
