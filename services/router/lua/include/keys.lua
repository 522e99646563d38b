-- Names for KEYS, in the order of PoolKeys.all() in keys.py.
local QUEUES = { KEYS[1], KEYS[2], KEYS[3], KEYS[4] } -- by rank + 1
local ARRIVALS, DEADLINES, WORKERS, FREE, SESSIONS, SEEN = KEYS[5], KEYS[6], KEYS[7], KEYS[8], KEYS[9], KEYS[10]
local REQUEST, WORKER, HELD, SESSION, OWNED, OUTBOX = KEYS[11], KEYS[12], KEYS[13], KEYS[14], KEYS[15], KEYS[16]
local ROLLOUT = KEYS[17]
