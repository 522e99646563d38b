-- The operator's rules for the four classes, by rank + 1, as every script that grants is told them:
--   ARGV[2..5]  time (ms) without a turn of its own after which a class gets a share of better ones' turns; 0: never
--   ARGV[6]     classes that may make others yield, as four digits: "1000"
--   ARGV[7]     classes that may be made to yield: "0011"
local AGEING_MS = { tonumber(ARGV[2]), tonumber(ARGV[3]), tonumber(ARGV[4]), tonumber(ARGV[5]) }

local function is_marked(mask, rank)
  return string.byte(mask, rank + 1) == 49 -- '1'
end

local function may_preempt(rank)
  return is_marked(ARGV[6], rank)
end

local function may_yield(rank)
  return is_marked(ARGV[7], rank)
end
