"""Flow control of one request: tokens go out only as far as the gateway has made room for them."""

import asyncio
from collections.abc import AsyncIterator
from dataclasses import replace

from services.worker.engine.contract import Delta


class Credit:
    def __init__(self, tokens: int) -> None:
        """tokens 0: no limit."""
        self._limited = tokens > 0
        self._window = self._tokens = tokens
        self._more = asyncio.Event()

    def add(self, tokens: int) -> None:
        self._tokens += tokens
        self._more.set()

    def take(self, delta: Delta) -> bool:
        """Takes the room that it needs, if there is so much."""
        if self._limited and len(delta.token_ids) > self._tokens:
            return False
        self._tokens -= len(delta.token_ids)
        return True

    async def pace(self, delta: Delta) -> AsyncIterator[Delta]:
        """The delta, once there is room for it.

        One that is large beside the window goes out in parts: a gateway may wait for half of the window before it
        gives credit again.
        """
        large = 2 * len(delta.token_ids) > self._window
        while not self.take(delta):
            if self._tokens and large:
                head, delta = split(delta, self._tokens)
                self._tokens = 0
                yield head
            self._more.clear()
            await self._more.wait()
        yield delta


def split(delta: Delta, tokens: int) -> tuple[Delta, Delta]:
    """The first `tokens` alone, then the rest with text and ending: what was not sent can still be resumed."""
    at = delta.text_from
    head = Delta(
        delta.choice,
        token_ids=delta.token_ids[:tokens],
        logprobs=delta.logprobs[:tokens],
        text_from=at,
        text_end=at,
    )
    return head, replace(delta, token_ids=delta.token_ids[tokens:], logprobs=delta.logprobs[tokens:])
