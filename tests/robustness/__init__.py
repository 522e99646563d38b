"""What must hold while things break: traffic, faults, and a verdict on every request. See README.md.

arena.py is a whole cluster whose processes crew.py runs, traffic.py asks, answer.py says what came back and whether it
is right, leftovers.py what was not cleaned up. Each folder is a scenario: its faults, drill, verdict and command.
"""
