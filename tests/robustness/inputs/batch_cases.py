"""Batches of lines as clients write them, changed: each batch ends, and says what is wrong with its lines."""

import asyncio
from random import Random
from typing import Any

import httpx
import orjson

from tests.robustness.inputs.client_bodies import VALUES, bodies, changed
from tests.support.cluster import RunningCluster
from tests.support.plain_http import no_certificates

LINES = 8
ENDPOINTS = ("/v1/chat/completions", "/v1/completions", "/v1/responses")
ENDED = ("completed", "failed", "cancelled", "expired")
BOM = b"\xef\xbb\xbf"
TIMEOUT_S = 60.0
MOST_LOOKS = 600
PAUSE_S = 0.2
JARGON = (b"pydantic", b"Input should", b"Traceback", b"Field required")


async def send_batches(cluster: RunningCluster, model: str, count: int, seed: int) -> list[str]:
    """Returns what is wrong with the outcome of generated batches, in words."""
    random = Random(seed)
    headers = {"authorization": f"Bearer {cluster.key}"}
    async with httpx.AsyncClient(
        base_url=cluster.rest, headers=headers, timeout=TIMEOUT_S, verify=no_certificates()
    ) as http:
        files = [batch_file(model, random) for _ in range(count)]
        found = await asyncio.gather(*(_outcome(http, endpoint, content) for endpoint, content in files))
    return [violation for violation in found if violation]


def batch_file(model: str, random: Random) -> tuple[str, bytes]:
    """An endpoint and a file for it. Every second file has only bodies that are right, so that its lines run."""
    endpoint = random.choice(ENDPOINTS)
    odd = random.random() < 0.5
    lines = [_line(endpoint, model, number, random, odd=odd) for number in range(LINES)]
    return endpoint, (BOM if random.random() < 0.3 else b"") + b"\n".join(lines)


def _line(endpoint: str, model: str, number: int, random: Random, *, odd: bool) -> bytes:
    body = {**random.choice(bodies(model)[endpoint]), "stream": None, "stream_options": None}
    line: dict[str, Any] = {"custom_id": f"r{number}", "method": "POST", "url": endpoint, "body": body, "note": 1}
    if odd:
        line["body"] = changed(body, random)
        if random.random() < 0.2:
            line[random.choice(list(line))] = random.choice(VALUES)
    try:
        return orjson.dumps(line)
    except TypeError:  # half a character, or a number of more than 64 bits
        return b"{\xff}"


async def _outcome(http: httpx.AsyncClient, endpoint: str, content: bytes) -> str | None:
    form = {"files": {"file": ("in.jsonl", content)}, "data": {"purpose": "batch"}}
    file = await http.post("/files", **form)  # type: ignore[arg-type]
    if file.status_code != 200:
        return f"a batch file got {file.status_code} {file.text[:300]}: {content!r}"
    wanted = {"input_file_id": file.json()["id"], "endpoint": endpoint, "completion_window": "24h"}
    answer = await http.post("/batches", json=wanted)
    if answer.status_code != 200:
        return f"a batch got {answer.status_code} {answer.text[:300]}: {content!r}"
    batch = await _ended(http, answer.json()["id"])
    if batch["status"] not in ("completed", "failed"):
        return f"a batch is {batch['status']}: {content!r}"
    if batch["status"] == "failed":
        problem = _of_errors(batch)
    else:
        problem = await _of_lines(http, batch)
    return f"{problem}: {content!r}" if problem else None


async def _ended(http: httpx.AsyncClient, name: str) -> Any:
    batch: Any = {"status": "not looked at"}
    for _ in range(MOST_LOOKS):
        batch = (await http.get(f"/batches/{name}")).json()
        if batch["status"] in ENDED:
            break
        await asyncio.sleep(PAUSE_S)
    return batch


def _of_errors(batch: Any) -> str | None:
    errors = batch["errors"]["data"]
    if not errors or not all(error["code"] and error["message"] for error in errors):
        return f"a batch failed without saying why: {errors}"
    shown = orjson.dumps(errors)
    return f"the library's words {errors}" if any(word in shown for word in JARGON) else None


async def _of_lines(http: httpx.AsyncClient, batch: Any) -> str | None:
    """No line of a batch may fail for a fault of the server."""
    names = [name for name in (batch["output_file_id"], batch["error_file_id"]) if name]
    lines = b"\n".join([(await http.get(f"/files/{name}/content")).content for name in names])
    answers = [orjson.loads(line) for line in lines.splitlines() if line]
    if len(answers) != LINES:
        return f"{len(answers)} of {LINES} lines are answered"
    failed = [answer for answer in answers if not answer["response"] or answer["response"]["status_code"] >= 500]
    if failed or any(word in lines for word in JARGON):
        return f"lines failed {failed[:3]} {lines[:500]!r}"
    return None
