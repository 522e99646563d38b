-- Names for the keys of the pool whose root is KEYS[1]; keys.py says what each holds.
local function by_class(name)
  local root = KEYS[1] .. name
  return { root .. 'priority', root .. 'default', root .. 'flex', root .. 'batch' } -- by rank + 1
end

local QUEUES, TENANTS, RUNNING = by_class('queue:'), by_class('tenants:'), by_class('running:')
local TURNS, ARRIVALS, DEADLINES = KEYS[1] .. 'turns', KEYS[1] .. 'arrivals', KEYS[1] .. 'deadlines'
local WORKERS, FREE, KEPT = KEYS[1] .. 'workers', KEYS[1] .. 'free', KEYS[1] .. 'kept'
local WANTED, SESSIONS, SEEN = KEYS[1] .. 'wanted:', KEYS[1] .. 'sessions', KEYS[1] .. 'seen'
local YIELDING, PREFIX = KEYS[1] .. 'yielding', KEYS[1] .. 'prefix'
local FORGOTTEN, ROLLOUT, RULES = KEYS[1] .. 'forgotten', KEYS[1] .. 'rollout', KEYS[1] .. 'rules'
local REQUEST, WORKER, HELD = KEYS[1] .. 'request:', KEYS[1] .. 'worker:', KEYS[1] .. 'held:'
local SESSION, OWNED, OUTBOX = KEYS[1] .. 'session:', KEYS[1] .. 'owned:', KEYS[1] .. 'outbox:'
local CACHE, LIMIT, OPEN = KEYS[1] .. 'cache:', KEYS[1] .. 'limit:', KEYS[1] .. 'open:'
local LOG, LOGS, TENANT_LOGS = KEYS[1] .. 'log:', KEYS[1] .. 'logs', KEYS[1] .. 'logs:'
