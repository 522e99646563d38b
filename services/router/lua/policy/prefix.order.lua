local function order_of(_, load)
  return load
end
