"""Flow control of one request: the worker sends only as many tokens as the gateway accepts."""

import asyncio
from collections.abc import AsyncIterator
from dataclasses import replace

from services.worker.engine.contract import Delta


class Credit:
    """The number of tokens that the gateway still accepts for one request."""

    def __init__(self, tokens: int) -> None:
        """Starts with the gateway's first credit; 0 tokens mean no limit."""
        self._limited = tokens > 0
        self._window = self._tokens = tokens
        self._more = asyncio.Event()

    def add(self, tokens: int) -> None:
        """Adds tokens that the gateway accepts in addition."""
        self._tokens += tokens
        self._more.set()

    def take(self, tokens: int) -> bool:
        """Takes the credit for so many tokens; returns False and takes nothing when there is too little."""
        if self._limited and tokens > self._tokens:
            return False
        self._tokens -= tokens
        return True

    async def pace(self, delta: Delta) -> AsyncIterator[Delta]:
        """Yields the delta as soon as there is credit for it.

        A delta of more than half of the window is yielded in parts: a gateway may wait until half of the window is used
        before it gives more credit.
        """
        large = 2 * len(delta.token_ids) > self._window
        while not self.take(len(delta.token_ids)):
            if self._tokens and large:
                head, delta = split(delta, self._tokens)
                self._tokens = 0
                yield head
            self._more.clear()
            await self._more.wait()
        yield delta


def split(delta: Delta, tokens: int) -> tuple[Delta, Delta]:
    """Splits off the first `tokens` tokens.

    The text and the ending stay in the second part. So a stream that ends between the parts can still be resumed.
    """
    at = delta.text_from
    head = Delta(
        delta.choice,
        token_ids=delta.token_ids[:tokens],
        logprobs=delta.logprobs[:tokens],
        text_from=at,
        text_end=at,
    )
    return head, replace(delta, token_ids=delta.token_ids[tokens:], logprobs=delta.logprobs[tokens:])
