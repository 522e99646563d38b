"""A served teacher: an OpenAI endpoint that answers questions, asked again where asking again may help."""

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from email.utils import parsedate_to_datetime
from itertools import islice
from random import Random
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self

from services.shared.backoff import backoff
from services.shared.clock import Clock

if TYPE_CHECKING:
    import httpx

TRIES = 8
"""Times that a question is asked before the run stops."""
LONGEST_WAIT_S = 60.0
"""Most of what an endpoint may ask to wait for between two tries."""
MAX_RESPONSE_BYTES = 16 << 20
"""Of one answer."""
_AGAIN = frozenset({408, 409, 425, 429})
"""Of the client errors, those that pass by themselves; all of 500 and more may pass too."""
_TOO_LONG = "context_length_exceeded"
_SHOWN = 300


class TeacherAway(Exception):
    """The endpoint did not answer, TRIES times in a row. Later it may."""


class TeacherRefused(Exception):
    """The endpoint refuses to be asked this way; the message has its words. Asking again would end the same way."""


@dataclass(frozen=True, slots=True)
class Endpoint:
    """Where the teacher is served.

    Attributes:
        url: Base URL of the API, with /v1.
        key: API key, sent as a bearer; None where the endpoint wants none.
        at_once: Most questions that wait for their answers at the same time.
        limit_s: Seconds that one answer may take.
    """

    url: str
    key: str | None = field(repr=False, default=None)
    at_once: int = 8
    limit_s: float = 600.0


@dataclass(frozen=True, slots=True)
class Question:
    """What the teacher is asked. messages and tools are in OpenAI's form."""

    messages: Sequence[Mapping[str, Any]]
    tools: Sequence[Mapping[str, Any]] = ()

    @property
    def sha256(self) -> str:
        """Of the canonical JSON."""
        document = json.dumps([list(self.messages), list(self.tools)], sort_keys=True, separators=(",", ":"))
        return hashlib.sha256(document.encode()).hexdigest()


@dataclass(frozen=True, slots=True)
class Reply:
    """What came back. finish_reason: as the endpoint says it, or context_length_exceeded for a question too long."""

    message: Mapping[str, Any]
    finish_reason: str


class Teacher:
    """A client of the endpoint. Use it as an asynchronous context.

    Args:
        endpoint: Where the teacher is.
        parameters: Of every request: the model, and how it samples.
        clock: For the waits between two tries.
        random: For these waits.
    """

    def __init__(
        self,
        endpoint: Endpoint,
        parameters: Mapping[str, Any],
        *,
        clock: Clock,
        random: Random,
    ) -> None:
        import httpx

        self._endpoint, self._parameters = endpoint, parameters
        self._clock, self._random = clock, random
        limits = httpx.Limits(max_connections=endpoint.at_once)
        headers = {"authorization": f"Bearer {endpoint.key}"} if endpoint.key else {}
        self._http = httpx.AsyncClient(timeout=endpoint.limit_s, limits=limits, headers=headers, follow_redirects=False)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._http.aclose()

    async def answer(self, question: Question, name: str) -> Reply:
        """Asks one question.

        Args:
            question: What is asked.
            name: Of this question in its run, as the Idempotency-Key: an endpoint that knows keys generates an answer
                once, however often a broken connection has it asked again.

        Raises:
            TeacherAway: TRIES times in a row there was no answer.
            TeacherRefused: The endpoint refuses the question for a reason that does not pass.
        """
        trouble = ""
        for delay in islice(backoff(self._random, first_s=0.5, cap_s=30.0), TRIES):
            found = await self._ask(question, name)
            if isinstance(found, Reply):
                return found
            trouble, wanted = found
            await self._clock.sleep(max(delay, min(wanted, LONGEST_WAIT_S)))
        raise TeacherAway(f"the teacher at {self._endpoint.url} did not answer, {TRIES} times in a row: {trouble}")

    async def _ask(self, question: Question, name: str) -> "Reply | tuple[str, float]":
        """The reply; or what was wrong, and the seconds that the endpoint wants to be left alone."""
        import httpx

        body = {"messages": list(question.messages), **self._parameters}
        if question.tools:
            body["tools"] = list(question.tools)
        url = f"{self._endpoint.url.rstrip('/')}/chat/completions"
        try:
            async with self._http.stream("POST", url, json=body, headers={"idempotency-key": name}) as response:
                content = await _content(response)
        except httpx.TransportError as error:
            return f"{type(error).__name__}: {error}", 0.0
        if response.is_success:
            return self._reply(content)
        said = _said(content)
        if response.status_code in _AGAIN or response.status_code >= 500:
            return f"{response.status_code}: {said.message}", self._wanted_s(response.headers.get("retry-after", ""))
        if said.code == _TOO_LONG:
            return Reply({}, _TOO_LONG)
        raise TeacherRefused(f"the teacher at {self._endpoint.url} refuses: {response.status_code}: {said.message}")

    def _reply(self, content: bytes) -> Reply:
        try:
            choice = json.loads(content)["choices"][0]
            message, reason = choice["message"], choice["finish_reason"]
        except (ValueError, KeyError, IndexError, TypeError):
            message, reason = None, None
        if not isinstance(message, dict) or not isinstance(reason, str):
            shown = content[:_SHOWN].decode("utf-8", "replace")
            raise TeacherRefused(f"{self._endpoint.url} gives what is no chat completion: {shown}")
        return Reply(message, reason)

    def _wanted_s(self, header: str) -> float:
        """Of Retry-After: seconds, or a date."""
        try:
            return float(header)
        except ValueError:
            pass
        try:
            return max(0.0, parsedate_to_datetime(header).timestamp() - self._clock.wall())
        except ValueError:
            return 0.0


@dataclass(frozen=True, slots=True)
class _Said:
    """The error of an endpoint."""

    message: str
    code: str | None


def _said(content: bytes) -> _Said:
    try:
        error = json.loads(content)["error"]
        return _Said(str(error["message"])[:_SHOWN], error.get("code"))
    except (ValueError, KeyError, TypeError, AttributeError):
        return _Said(content[:_SHOWN].decode("utf-8", "replace"), None)


async def _content(response: "httpx.Response") -> bytes:
    """Raises TeacherRefused when it is longer than an answer may be."""
    found = bytearray()
    async for chunk in response.aiter_bytes():
        found += chunk
        if len(found) > MAX_RESPONSE_BYTES:
            raise TeacherRefused(f"{response.url} sends an answer of more than {MAX_RESPONSE_BYTES} bytes")
    return bytes(found)
