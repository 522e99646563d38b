"""Generated requests, valid and invalid, over REST and gRPC: each must get a proper response or a clean error.

http_cases.py makes requests from the OpenAPI document (schemathesis), rpc_cases.py from the messages' descriptors
(Hypothesis), traffic.py sends them to a real cluster, drill.py looks at what they left cluster, report.py judges.
"""
