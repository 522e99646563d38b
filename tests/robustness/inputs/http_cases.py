"""HTTP requests made from the OpenAPI document: those that it allows, those that it does not, and damaged bytes."""

from copy import deepcopy
from dataclasses import dataclass, replace
from random import Random
from typing import Any

import orjson
import schemathesis
from schemathesis.config import SanitizationConfig
from schemathesis.generation import GenerationMode
from schemathesis.transport.prepare import prepare_request

from tests.robustness.inputs.examples import draw

# What costs the cluster most is asked most.
GENERATING = ("/v1/chat/completions", "/v1/completions", "/v1/responses", "/v1/messages")
SHARE_OF_GENERATING = 0.15
SHARE_OF_DAMAGED = 0.1
SHARE_OF_HINTED = 0.2
SHARE_OF_CROSSED = 0.3
MOST_DRAWN = 30
"""Requests of an operation and mode that are made from the document. One takes up to 0.3 s of CPU; the rest are crosses
of two of them."""
HINT = "tidal_hint"
"""A field that no endpoint knows. It must be left out, and named."""
OURS = frozenset(
    {"Authorization", "User-Agent", "Accept-Encoding", "Connection", "Content-Length", "X-Schemathesis-TestCaseId"}
)
BASE = "http://cluster"


@dataclass(frozen=True, slots=True)
class HttpCase:
    """One request.

    Attributes:
        target: path and query, as they go out.
        hinted: the body has HINT, at its top level and in its first object.
        version: of HTTP: 1.1 or 1.0.
    """

    method: str
    target: str
    headers: tuple[tuple[str, str], ...]
    body: bytes
    hinted: bool = False
    version: str = "1.1"

    def __str__(self) -> str:
        return f"{self.method} {self.target} HTTP/{self.version} {dict(self.headers)} {self.body!r}"


def http_cases(document: dict[str, Any], model: str, count: int, seed: int) -> list[HttpCase]:
    """document: the cluster's OpenAPI document; model: one that it serves, which every request asks for."""
    schema: Any = schemathesis.openapi.from_dict(_asking_for(model, document))
    operations = [result.ok() for result in schema.get_all_operations()]
    # The ones that there are endless examples of come last, and make up for those with few.
    operations.sort(key=lambda operation: operation.path in GENERATING)
    random, cases = Random(seed), list[HttpCase]()
    for position, operation in enumerate(operations):
        left = count - len(cases)
        wanted = left // (len(operations) - position)
        if operation.path not in GENERATING:
            wanted = min(wanted, int(count * (1 - len(GENERATING) * SHARE_OF_GENERATING) / len(operations)) or 1)
        wrong = wanted // 2 if _can_be_wrong(operation) else 0
        for mode, some in ((GenerationMode.NEGATIVE, wrong), (GenerationMode.POSITIVE, wanted - wanted // 2)):
            drawn = draw(operation.as_strategy(generation_mode=mode), min(some, MOST_DRAWN), seed)
            made = [case for case in map(_case, drawn) if case]
            cases += made + _crossed(made, some - len(drawn), random)
    return _damaged([_hinted(case) if random.random() < SHARE_OF_HINTED else case for case in cases], random)


def _can_be_wrong(operation: Any) -> bool:
    """Any text is right in a path, and to find no wrong one takes seconds."""
    return bool(operation.body or operation.query or operation.headers)


def _crossed(cases: list[HttpCase], count: int, random: Random) -> list[HttpCase]:
    """Requests whose bodies have some fields of others' bodies."""
    objects = [(case, body) for case in cases if (body := _object(case.body)) is not None]
    if len(objects) < 2:
        return []
    pairs = (random.sample(objects, 2) for _ in range(count))
    return [replace(case, body=orjson.dumps(_mixed(body, other, random))) for (case, body), (_, other) in pairs]


def _mixed(one: Any, other: Any, random: Random) -> Any:
    """Returns the first value with parts of the second one, at the same places of both."""
    if isinstance(one, dict) and isinstance(other, dict):
        taken = {key: value for key, value in other.items() if random.random() < SHARE_OF_CROSSED}
        both = {key: _mixed(one[key], other[key], random) for key in one.keys() & other.keys() - taken.keys()}
        return {**one, **both, **deepcopy(taken)}
    if isinstance(one, list) and isinstance(other, list) and one and other:
        return [_mixed(value, random.choice(other), random) for value in one]
    return deepcopy(one if random.random() < 1 - SHARE_OF_CROSSED else other)


def _asking_for(model: str, document: dict[str, Any]) -> dict[str, Any]:
    """Keys are the sender's matter, and a made-up model would be all that is ever found wrong."""
    schemas = {name: _with_model(schema, model) for name, schema in document["components"]["schemas"].items()}
    document = {name: value for name, value in document.items() if name != "security"}
    return {**document, "components": {"schemas": schemas}}


def _with_model(schema: dict[str, Any], model: str) -> dict[str, Any]:
    properties = schema.get("properties", {})
    asked = properties.get("model", {})
    if not any(form.get("type") == "string" for form in (asked, *asked.get("anyOf", ()))):
        return schema
    return {**schema, "properties": {**properties, "model": {"type": "string", "enum": [model]}}}


def _case(drawn: Any) -> HttpCase | None:
    """None for what no HTTP client would put on the wire."""
    try:
        options = prepare_request(drawn, None, config=SanitizationConfig(enabled=False), base_url=BASE)
        headers = tuple((name, str(value)) for name, value in options.headers.items() if name not in OURS)
        for text in (part for header in headers for part in header):
            text.encode("ascii")
    except (OSError, ValueError):
        return None
    body = options.body or b""
    target = (options.url or "").removeprefix(BASE)
    sent = body if isinstance(body, bytes) else str(body).encode()
    return HttpCase(str(options.method), target, headers, sent) if target.startswith("/") else None


def _hinted(case: HttpCase) -> HttpCase:
    """Adds a hint to a body of an endpoint that generates."""
    body = _object(case.body) if case.target in GENERATING and case.method == "POST" else None
    if body is None:
        return case
    messages = body.get("messages")
    if isinstance(messages, list) and messages and isinstance(messages[0], dict):
        messages[0][HINT] = 1
    return replace(case, body=orjson.dumps({**body, HINT: {"a": [None]}}), hinted=True)


def _object(body: bytes) -> dict[str, Any] | None:
    try:
        value = orjson.loads(body)
    except orjson.JSONDecodeError:
        return None
    return value if isinstance(value, dict) else None


def _damaged(cases: list[HttpCase], random: Random) -> list[HttpCase]:
    return [_damage(case, random) if case.body and random.random() < SHARE_OF_DAMAGED else case for case in cases]


def _damage(case: HttpCase, random: Random) -> HttpCase:
    body = bytearray(case.body)
    for _ in range(random.randint(1, 4)):
        body[random.randrange(len(body))] = random.randrange(256)
    return replace(case, body=bytes(body[: random.randint(1, 2 * len(body))]), hinted=False)
