-- Names for the keys of the pool whose root is KEYS[1]; keys.py says what each holds. One table: every name of its own would
-- make every function dearer that uses it.
local function by_class(name)
  local root = KEYS[1] .. name
  return { root .. 'priority', root .. 'default', root .. 'flex', root .. 'batch' } -- by rank + 1
end

local KEY = {
  queues = by_class('queue:'), tenants = by_class('tenants:'), running = by_class('running:'),
  turns = KEYS[1] .. 'turns', arrivals = KEYS[1] .. 'arrivals', deadlines = KEYS[1] .. 'deadlines',
  workers = KEYS[1] .. 'workers', free = KEYS[1] .. 'free', kept = KEYS[1] .. 'kept', wanted = KEYS[1] .. 'wanted:',
  floods = KEYS[1] .. 'floods', refuge = KEYS[1] .. 'refuge',
  sessions = KEYS[1] .. 'sessions', seen = KEYS[1] .. 'seen', yielding = KEYS[1] .. 'yielding',
  prefix = KEYS[1] .. 'prefix', forgotten = KEYS[1] .. 'forgotten', rollout = KEYS[1] .. 'rollout',
  rules = KEYS[1] .. 'rules', request = KEYS[1] .. 'request:', worker = KEYS[1] .. 'worker:', held = KEYS[1] .. 'held:',
  session = KEYS[1] .. 'session:', owned = KEYS[1] .. 'owned:', outbox = KEYS[1] .. 'outbox:',
  cache = KEYS[1] .. 'cache:', limit = KEYS[1] .. 'limit:', open = KEYS[1] .. 'open:', log = KEYS[1] .. 'log:',
  logs = KEYS[1] .. 'logs', tenant_logs = KEYS[1] .. 'logs:',
}
