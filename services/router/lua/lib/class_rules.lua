-- The operator's rules for the four classes. A class is named by its rank: 0 is priority, 3 is batch.
--
-- ARG aging_priority_ms  time without an own turn after which priority gets a share of better classes' turns; 0: never
-- ARG aging_default_ms   the same for default
-- ARG aging_flex_ms      the same for flex
-- ARG aging_batch_ms     the same for batch
-- ARG preempting         classes that may preempt others, one digit a class: "1000"
-- ARG preemptible        classes whose requests may be preempted, one digit a class: "0011"

local function is_marked(mask, rank)
  return string.byte(mask, rank + 1) == 49 -- '1'
end

local function may_preempt(rank)
  return is_marked(ARG.preempting, rank)
end

local function may_be_preempted(rank)
  return is_marked(ARG.preemptible, rank)
end

-- Milliseconds; 0: the class never ages.
local function aging_ms(rank)
  return tonumber(ARGV[INDEX.aging_priority_ms + rank])
end
