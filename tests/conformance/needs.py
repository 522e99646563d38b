"""Marks checks that only some models can pass."""

from collections.abc import Callable
from typing import Any, TypeVar

from tests.conformance.target import Capability

F = TypeVar("F", bound=Callable[..., Any])


def needs(*capabilities: Capability) -> Callable[[F], F]:
    """The decorated check is left out where the target's model cannot do all of this."""

    def marked(function: F) -> F:
        function.needs = frozenset(capabilities)  # type: ignore[attr-defined]
        return function

    return marked
