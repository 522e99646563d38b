"""Streams whose workers are killed, frozen or told to leave: every one of them must read as if nothing had happened.

traffic.py keeps streams open, faults.py strikes workers, drill.py brings them together, verdict.py compares every
answer with the one that was given in quiet. Everything is seeded.
"""
