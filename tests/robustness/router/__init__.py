"""The router under faults: traffic that does not wait, one fault after another, and a verdict on every single request.

traffic.py asks, faults.py breaks what crew.py runs, drill.py brings them together, verdict.py judges. All is seeded.
"""
