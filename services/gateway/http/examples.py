"""Requests that the OpenAPI page shows."""

from typing import Any

_ASK = [{"role": "user", "content": "What is a neap tide?"}]

CHAT: dict[str, Any] = {"model": "chat", "messages": _ASK, "stream": True, "service_tier": "priority"}
COMPLETION: dict[str, Any] = {"model": "chat", "prompt": "The tide comes in", "max_tokens": 32, "temperature": 0}
RESPONSE: dict[str, Any] = {"model": "chat", "instructions": "Be brief.", "input": "What is a neap tide?"}
TOKENIZE: dict[str, Any] = {"model": "chat", "messages": _ASK}
DETOKENIZE: dict[str, Any] = {"model": "chat", "tokens": [1, 2, 3]}
EMBEDDING: dict[str, Any] = {"model": "chat", "input": ["high tide", "low tide"]}
NEW_KEY: dict[str, Any] = {
    "tenant": "acme",
    "name": "nightly jobs",
    "tiers": ["flex", "batch"],
    "requests_per_minute": 60,
}
ROTATE: dict[str, Any] = {"grace_s": 3600}
TENANT: dict[str, Any] = {"name": "acme", "weight": 2, "tiers": ["priority", "default", "flex", "batch"]}
BATCH: dict[str, Any] = {
    "input_file_id": "file-0199f0b1c2d3aaaaaaaaaaaaaaaaaaaa",
    "endpoint": "/v1/chat/completions",
    "completion_window": "24h",
}
