"""Generated requests, valid and invalid, over REST and gRPC: each must get a proper response or a clean error.

http_cases.py makes requests from the OpenAPI document (schemathesis), rpc_cases.py from the messages' descriptors
(Hypothesis). client_cases.py makes those that clients really send: it changes the bodies of client_bodies.py, and knows
odd uploads, encodings, headers, versions and paths; batch_cases.py makes batches of such bodies. sender.py sends all to
a real cluster, drill.py looks at what they left behind, invariant_checker.py judges.
"""
