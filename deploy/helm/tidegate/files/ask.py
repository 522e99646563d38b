"""Asks every pool over REST and over gRPC, as clients do, and says what is wrong. `helm test` runs it in a pod."""

import json
import os
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable
from functools import partial

import grpc

from tidegate.inference.v1 import inference_pb2 as pb
from tidegate.inference.v1.inference_pb2_grpc import InferenceServiceStub

QUESTION = "What is the capital of France?"
TOKENS = 16
HINTS = {
    401: "the gateways have another key than the Secret: restart them",
    404: "the gateways have no such pool: they may still run with an older configuration",
    429: "the limits of the key are reached",
    503: "no worker took the request in time: see the pods and logs of the workers",
}
"""What a status means here, and what to look at."""


class Wrong(Exception):
    """A pool did not answer as it should; the message says what to look at."""


def over_rest(address: str, pool: str, key: str, limit_s: float) -> str:
    """Returns what a chat that is not streamed says. Raises Wrong."""
    chat = {"model": pool, "messages": [{"role": "user", "content": QUESTION}], "max_tokens": TOKENS}
    request = urllib.request.Request(
        f"http://{address}/v1/chat/completions",
        data=json.dumps(chat).encode(),
        headers={"Authorization": f"Bearer {key}", "Content-Type": "application/json"},
    )
    try:
        with urllib.request.urlopen(request, timeout=limit_s) as response:  # noqa: S310
            answer = json.load(response)
    except urllib.error.HTTPError as error:
        raise Wrong(f"status {error.code}: {error.read(2000).decode(errors='replace')}{_hint(error.code)}") from error
    except OSError as error:
        raise Wrong(f"no answer from {address} within {limit_s:g} s: {error}. See the gateways' pods") from error
    _check(answer["choices"][0]["finish_reason"], answer["usage"]["completion_tokens"])
    return str(answer["choices"][0]["message"].get("content") or "")


def over_grpc(address: str, pool: str, key: str, limit_s: float) -> str:
    """Returns what a streamed chat says. Raises Wrong."""
    request = pb.ChatRequest(
        model=pool,
        messages=[pb.Message(role="user", content=QUESTION)],
        sampling=pb.Sampling(max_tokens=TOKENS),
    )
    statuses = {"UNAUTHENTICATED": 401, "NOT_FOUND": 404, "RESOURCE_EXHAUSTED": 429, "UNAVAILABLE": 503}
    with grpc.insecure_channel(address) as channel:
        call = InferenceServiceStub(channel).Chat(
            request, metadata=(("authorization", f"Bearer {key}"),), timeout=limit_s
        )
        try:
            messages = list(call)
        except grpc.RpcError as error:
            hint = _hint(statuses.get(error.code().name, 0))
            raise Wrong(f"{error.code().name} from {address}: {error.details()}{hint}") from error
    choices = [choice for message in messages for choice in message.choices]
    _check(choices[-1].finish_reason if choices else "", messages[-1].usage.completion_tokens if messages else 0)
    return "".join(choice.content for choice in choices)


def ask(name: str, way: Callable[[], str]) -> bool:
    """Asks one pool in one way, and prints the outcome. Returns whether the answer is right."""
    began = time.monotonic()
    try:
        said = way()
    except Wrong as wrong:
        print(f"{name}: {wrong}", flush=True)  # noqa: T201
        return False
    print(f"{name}: {time.monotonic() - began:.1f} s: {said!r}", flush=True)  # noqa: T201
    return True


def main() -> None:
    """Reads from the environment whom to ask. Exits with status 1 if one pool does not answer."""
    rest, grpc_, key = os.environ["REST"], os.environ["GRPC"], os.environ["API_KEY"]
    limit_s, pools = float(os.environ["LIMIT_S"]), json.loads(os.environ["POOLS"])
    asked = {f"{pool} over REST": partial(over_rest, rest, pool, key, limit_s) for pool in pools}
    asked |= {f"{pool} over gRPC": partial(over_grpc, grpc_, pool, key, limit_s) for pool in pools}
    if wrong := [name for name, way in asked.items() if not ask(name, way)]:
        sys.exit(f"no right answer from {', '.join(wrong)}")


def _check(finish_reason: str, tokens: int) -> None:
    """Raises Wrong: the answer is empty or was not ended."""
    if finish_reason not in ("stop", "length") or not tokens:
        raise Wrong(f"an answer of {tokens} tokens that ends with {finish_reason or 'nothing'}")


def _hint(status: int) -> str:
    return f" ({HINTS[status]})" if status in HINTS else ""


if __name__ == "__main__":
    main()
