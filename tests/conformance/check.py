"""A check, its outcome, and all checks in the order in which they are shown."""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from inspect import getmembers, iscoroutinefunction
from types import ModuleType
from typing import Any, Literal

from tests.conformance.api import Api
from tests.conformance.resources import (
    batches,
    chat,
    chat_streams,
    chat_tools,
    completions,
    conversations,
    embeddings,
    errors,
    files,
    messages,
    models,
    responses,
    server,
    structured,
    tokens,
)
from tests.conformance.target import Capability

Verdict = Literal["passed", "refused", "not served", "failed", "left out"]
"""refused: a 400 or 403 with an error object. left out: the target's model cannot do what the check needs."""

RESOURCES: tuple[ModuleType, ...] = (
    server,
    models,
    chat,
    chat_streams,
    chat_tools,
    structured,
    completions,
    responses,
    conversations,
    messages,
    embeddings,
    tokens,
    files,
    batches,
    errors,
)


@dataclass(frozen=True, slots=True)
class Check:
    """name: resource and function, as `chat.stops`. says: what holds, in one sentence."""

    name: str
    says: str
    function: Callable[[Api], Awaitable[None]]
    needs: frozenset[Capability]


@dataclass(frozen=True, slots=True)
class Outcome:
    """verdict of a check, and why it is not `passed`."""

    verdict: Verdict
    detail: str = ""


def all_checks() -> list[Check]:
    """Returns every check. A check is a public coroutine function of a module in RESOURCES."""
    return [_check(resource, function) for resource in RESOURCES for function in _functions(resource)]


def _functions(resource: ModuleType) -> list[Any]:
    found = [function for name, function in getmembers(resource, iscoroutinefunction) if not name.startswith("_")]
    own = [function for function in found if function.__module__ == resource.__name__]
    return sorted(own, key=lambda function: function.__code__.co_firstlineno)


def _check(resource: ModuleType, function: Any) -> Check:
    name = f"{resource.__name__.rpartition('.')[2]}.{function.__name__}"
    return Check(name, " ".join(function.__doc__.split()), function, getattr(function, "needs", frozenset()))
