"""Generated requests, valid and wild, over REST and gRPC: every one of them must get a clean answer or a clean refusal.

http_cases.py makes requests from the OpenAPI document (schemathesis), rpc_cases.py from the messages' descriptors
(Hypothesis), traffic.py sends them to a real cluster, drill.py looks at what they left there, verdict.py judges.
"""
