"""Cluster configurations for these drills."""

MANY_SLOTS = """
pools:
  - name: tide
    model: simulated
    engine: {kind: simulated, max_running: 256, step_ms: 20, sequence_ms: 0, kv_tokens: 4000000}
"""
"""Slots for all clients that stall, and for other clients at the same time."""

FEW_SLOTS = """
pools:
  - name: tide
    model: simulated
    workers: 2
    engine: {kind: simulated, max_running: 8, step_ms: 40, sequence_ms: 0}
classes:
  default: {max_queued: 40}
  flex: {max_queued: 40}
"""
"""16 slots, and queues that are soon full."""

PER_SECOND = 2 * 8 / (20 * 0.040)
"""How many requests of the flood FEW_SLOTS can serve per second."""
