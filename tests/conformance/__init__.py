"""What clients of OpenAI's and Anthropic's APIs count on, one small function for each thing, by resource.

The same checks run against Tidegate and against a plain `vllm serve`. `differences.py` says where the two differ on
purpose, and why. Every check holds for OpenAI's or Anthropic's reference or for what vLLM adds to it.

    target.py        a server, and what its models can do
    api.py           requests to it, and what their answers say
    check.py         a check, its outcome, and all checks
    suite.py         runs checks against a target
    resources/       the checks
    differences.py   where Tidegate differs from vLLM on purpose
    table.py         the outcomes as text, as JSON, and as the table of docs/api.md
    vllm_serve.py    a plain `vllm serve`
"""
