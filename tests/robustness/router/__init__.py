"""The router under faults: traffic that does not wait, one fault after another, and a verdict on every single request.

traffic.py asks, faults.py breaks, drill.py brings them together, verdict.py says what became of it. Everything is seeded.
"""
