"""Reads one response as it arrives: records when tokens came, and decides at the end whether it is right."""

import asyncio
from typing import Any

import orjson

from loadtests.sample import Outcome, Sample
from loadtests.sse import EventStream, EventTooLarge

SHOWN_BYTES = 120
MAX_BODY_BYTES = 16 * 1024 * 1024
RETRYABLE = (429, 503)


class ResponseReader:
    """Fills in a sample from the parts of a response. `ended` is done when nothing more will come.

    Args:
        sample: Gets times, tokens and outcome.
        expected_tokens: Number of tokens that the answer must have. None: any.
    """

    def __init__(self, sample: Sample, expected_tokens: int | None) -> None:
        self.sample = sample
        self.ended: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self.began = False
        self._expected = expected_tokens
        self._status = 0
        self._retry_after = False
        self._is_stream = False
        self._events = EventStream()
        self._body = bytearray()
        self._finished = False
        self._done_s: float | None = None

    def head(self, status: int, headers: dict[bytes, bytes]) -> None:
        """Status and headers have arrived."""
        self.began = True
        self._status = status
        self._retry_after = b"retry-after" in headers
        self._is_stream = status == 200 and headers.get(b"content-type", b"").startswith(b"text/event-stream")

    def body(self, data: bytes, now_s: float) -> None:
        """A part of the body has arrived at `now_s`."""
        if self.ended.done():
            return
        try:
            self._take(data, now_s)
        except (orjson.JSONDecodeError, EventTooLarge, LookupError, TypeError, AttributeError) as error:
            self._end(Outcome.WRONG_SHAPE, f"{type(error).__name__}: {error}", now_s)

    def end(self, now_s: float) -> None:
        """The response is complete, as far as HTTP goes."""
        if not self.ended.done():
            self._end(*self._outcome(), now_s)

    def lost(self, now_s: float, reason: str) -> None:
        """The connection has ended. An answer that was complete already still counts."""
        if self.ended.done():
            return
        if not self.began:
            self._end(Outcome.BROKEN_STREAM, f"no answer: {reason}", now_s)
        elif self._done_s or (self._body and _is_json(self._body)):
            self._end(*self._outcome(), now_s)
        else:
            self._end(Outcome.BROKEN_STREAM, reason, now_s)

    def _take(self, data: bytes, now_s: float) -> None:
        if not self._is_stream:
            self._body += data
            if len(self._body) > MAX_BODY_BYTES:
                raise EventTooLarge(f"a body is larger than {MAX_BODY_BYTES} bytes")
            return
        for event in self._events.feed(data):
            if event == b"[DONE]":
                self._done_s = now_s
            else:
                self._take_chunk(orjson.loads(event), now_s)

    def _take_chunk(self, chunk: Any, now_s: float) -> None:
        if "error" in chunk:
            self._end(Outcome.STREAM_ERROR, _message(chunk), now_s)
            return
        for choice in chunk["choices"]:
            delta = choice["delta"]
            if delta.get("content") or delta.get("reasoning_content") or delta.get("tool_calls"):
                self.sample.token_times.append(now_s)
            if choice.get("finish_reason"):
                self._finished = True
        if usage := chunk.get("usage"):
            self._take_usage(usage)

    def _take_usage(self, usage: Any) -> None:
        self.sample.prompt_tokens = int(usage["prompt_tokens"])
        self.sample.output_tokens = int(usage["completion_tokens"])

    def _outcome(self) -> tuple[Outcome, str]:
        if self._status != 200:
            return self._error_outcome()
        if self._is_stream != self.sample.streamed:
            return Outcome.WRONG_SHAPE, "a stream was asked for" if self.sample.streamed else "no stream was asked for"
        return self._outcome_stream() if self._is_stream else self._outcome_whole()

    def _error_outcome(self) -> tuple[Outcome, str]:
        message = f"{self._status} {_message(self._body)}"
        if self._status not in RETRYABLE:
            return Outcome.HTTP_ERROR, message
        return (Outcome.REFUSED, message) if self._retry_after else (Outcome.HTTP_ERROR, f"no Retry-After: {message}")

    def _outcome_stream(self) -> tuple[Outcome, str]:
        if self._done_s is None or not self._finished:
            return Outcome.BROKEN_STREAM, "ended without " + ("finish_reason" if self._done_s else "[DONE]")
        if not self.sample.token_times and not self.sample.output_tokens:
            return Outcome.WRONG_SHAPE, "no event had any text"
        self.sample.output_tokens = self.sample.output_tokens or len(self.sample.token_times)
        return self._outcome_length()

    def _outcome_whole(self) -> tuple[Outcome, str]:
        try:
            document = orjson.loads(self._body)
            if document.get("object") == "list":
                return _outcome_of_vectors(document)
            self._take_usage(document["usage"])
            # A few tokens may make no text, such as the first bytes of a character.
            if not document["choices"][0]["message"]["content"] and not self.sample.output_tokens:
                return Outcome.WRONG_SHAPE, "the message is empty"
        except (orjson.JSONDecodeError, LookupError, TypeError, ValueError) as error:
            return Outcome.WRONG_SHAPE, f"{type(error).__name__}: {error}"
        return self._outcome_length()

    def _outcome_length(self) -> tuple[Outcome, str]:
        if self._expected is None or self.sample.output_tokens == self._expected:
            return Outcome.OK, ""
        return Outcome.WRONG_LENGTH, "more tokens than asked" if self._is_longer() else "fewer tokens than asked"

    def _is_longer(self) -> bool:
        return self._expected is not None and self.sample.output_tokens > self._expected

    def _end(self, outcome: Outcome, detail: str, now_s: float) -> None:
        if outcome is Outcome.OK:
            # A stream ends with its last event. What HTTP sends after it does not count.
            self.sample.succeed(self._done_s or now_s)
        else:
            self.sample.fail(outcome, detail, now_s)
        self.ended.set_result(None)


def _outcome_of_vectors(document: Any) -> tuple[Outcome, str]:
    """An answer to a request for embeddings is right if each input has a vector."""
    if all(item["embedding"] for item in document["data"]):
        return Outcome.OK, ""
    return Outcome.WRONG_SHAPE, "a vector is empty"


def _is_json(body: bytes | bytearray) -> bool:
    try:
        orjson.loads(body)
    except orjson.JSONDecodeError:
        return False
    return True


def _message(body: Any) -> str:
    """The message of OpenAI's error object; else the first bytes of the body."""
    try:
        document = orjson.loads(body) if isinstance(body, bytes | bytearray) else body
        return str(document["error"]["message"])
    except (orjson.JSONDecodeError, LookupError, TypeError):
        return repr(bytes(body[:SHOWN_BYTES])) if isinstance(body, bytes | bytearray) else str(body)
