"""The clusters that these drills run on: engines as large or as small as the drill needs them."""

# Room for all who stall, and for others beside them.
MANY_SLOTS = """
pools:
  - name: tide
    model: simulated
    engine: {kind: simulated, max_running: 256, step_ms: 20, sequence_ms: 0, kv_tokens: 4000000}
"""
# 16 answers at once, and queues that are soon full.
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
PER_SECOND = 2 * 8 / (20 * 0.040)
"""What FEW_SLOTS can serve of the flood's requests."""
