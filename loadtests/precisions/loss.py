"""The loss of a served model on a text that it was not trained on: what the server itself says of each token."""

import math
from collections.abc import Iterable
from typing import NamedTuple

import orjson

from loadtests.ask import ask
from loadtests.load import CannotRun
from loadtests.target import COMPLETIONS, Target

LIMIT_S = 600.0
"""For one passage. On a CPU that others use too, a prompt of a hundred tokens can take a minute."""


class Loss(NamedTuple):
    """The mean, in nats a token, and the number of tokens."""

    mean: float
    tokens: int


async def held_out_loss(target: Target, model: str, passages: Iterable[str]) -> Loss:
    """Asks for the log probabilities of each passage. The first token of a passage has none.

    Raises:
        CannotRun: The server did not tell them.
    """
    losses = [-number for passage in passages for number in await _logprobs(target, model, passage)]
    return Loss(math.fsum(losses) / len(losses), len(losses))


async def _logprobs(target: Target, model: str, passage: str) -> list[float]:
    wanted = {"model": model, "prompt": passage, "max_tokens": 0, "echo": True, "logprobs": 1}
    try:
        status, content = await ask(target, target.post(COMPLETIONS, wanted), LIMIT_S)
        if status != 200:
            raise CannotRun(f"{COMPLETIONS} with echo and logprobs answered {status}: {content[:300]!r}")
        first, *others = orjson.loads(content)["choices"][0]["logprobs"]["token_logprobs"]
        if first is not None or not all(isinstance(number, int | float) for number in others):
            raise ValueError("a token has no log probability")
    except (OSError, TimeoutError) as error:
        raise CannotRun(f"{COMPLETIONS} was not answered: {str(error) or 'no answer in time'}") from None
    except (ValueError, LookupError, TypeError) as error:
        raise CannotRun(f"{COMPLETIONS} has no log probabilities of the prompt: {error}") from None
    return list(map(float, others))
