-- The least loaded worker comes first.
local function order_of(_, load)
  return load
end
