"""`/v1/batches`."""

import asyncio
from typing import Any

import orjson

from tests.conformance.api import Api, NotServed, error_object, expect, same

MOST_LOOKS = 600
PAUSE_S = 0.2


async def completes(api: Api) -> None:
    """A batch ends `completed`, with an answer for each line in any order."""
    lines = [_line(api, f"r{number}") for number in range(3)]
    batch = await _ended(api, await _start(api, lines))
    same(batch["status"], "completed", "the status")
    same(batch["request_counts"], {"total": 3, "completed": 3, "failed": 0}, "request_counts")
    output = (await api.send("GET", f"/v1/files/{batch['output_file_id']}/content")).text
    answers = [orjson.loads(line) for line in output.splitlines()]
    same(sorted(answer["custom_id"] for answer in answers), ["r0", "r1", "r2"], "the lines")
    expect(all(answer["response"]["status_code"] == 200 for answer in answers), "a line has failed")


async def says_which_line_is_wrong(api: Api) -> None:
    """A batch with a wrong line ends `failed`, and names the line."""
    batch = await _ended(api, await _start(api, [_line(api, "r0"), {"custom_id": "r1"}]))
    same(batch["status"], "failed", "the status")
    same({error["line"] for error in batch["errors"]["data"]}, {2}, "the lines")


async def lists(api: Api) -> None:
    """Batches are listed."""
    batch = await _start(api, [_line(api, "r0")])
    expect(batch["id"] in [each["id"] for each in (await api.get("/v1/batches?limit=100"))["data"]], "it is not there")
    await _ended(api, batch)


async def unknown_batches(api: Api) -> None:
    """An unknown batch is a 404 with an error object."""
    if (await api.send("GET", "/v1/batches")).status_code == 404:
        raise NotServed("404")
    answer = await api.send("GET", "/v1/batches/batch_unknown")
    same(answer.status_code, 404, "the status")
    error_object(answer)


def _line(api: Api, name: str) -> dict[str, Any]:
    body = {"model": api.target.model, "max_tokens": 4, "messages": [{"role": "user", "content": f"{name}?"}]}
    return {"custom_id": name, "method": "POST", "url": "/v1/chat/completions", "body": body}


async def _start(api: Api, lines: list[dict[str, Any]]) -> Any:
    content = b"\n".join(map(orjson.dumps, lines))
    file = await api.send("POST", "/v1/files", files={"file": ("in.jsonl", content)}, data={"purpose": "batch"})
    if file.status_code == 404:
        raise NotServed("404")
    body = {
        "input_file_id": file.json()["id"],
        "endpoint": "/v1/chat/completions",
        "completion_window": "24h",
    }
    answer = await api.send("POST", "/v1/batches", json=body)
    same(answer.status_code, 200, "the status")
    return answer.json()


async def _ended(api: Api, batch: Any) -> Any:
    for _ in range(MOST_LOOKS):
        batch = await api.get(f"/v1/batches/{batch['id']}")
        if batch["status"] in ("completed", "failed", "expired", "cancelled"):
            return batch
        await asyncio.sleep(PAUSE_S)
    raise AssertionError(f"the batch is still {batch['status']}")
