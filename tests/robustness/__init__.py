"""Fault injection: a whole cluster under load, faults, and a check of every single response. README.md says more.

cluster_under_test.py starts a cluster whose processes fault_injector.py kills and starts. workload.py sends requests
and keeps what comes back. invariant_checker.py says what is wrong, and leak_checker.py what was not cleaned up. Each
folder is a scenario with its faults, its drill (one run) and its command.
"""
