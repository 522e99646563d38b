"""Pydantic's findings as OpenAI's errors: which parameter, and what is wrong with it."""

import re
from typing import Any, TypeVar

from pydantic import BaseModel, ValidationError

from services.shared.errors import InvalidRequest

R = TypeVar("R", bound=BaseModel)
_MESSAGES = {"model_type": "must be an object", "dict_type": "must be an object", "list_type": "must be an array"}
UNSUPPORTED = frozenset(
    {
        *("audio", "functions", "function_call", "prediction", "verbosity", "web_search_options"),
        *("suffix", "prompt_cache_retention", "moderation"),
        *("background", "conversation", "include", "max_tool_calls", "prompt", "context_management"),
    }
)
"""Parameters of OpenAI that Tidegate does not support. They are refused: to ignore them would change the response."""
_NAMED = re.compile(r"^([a-z_]+(?:\[\d+\])?(?:\.[a-z_]+)*): (.*)$", re.DOTALL)


def check(kind: type[R], document: dict[str, Any]) -> R:
    """Validates a decoded body; REST, gRPC and batches all use this function.

    Args:
        kind: the model of the body.
        document: the body.

    Raises:
        InvalidRequest: the body is wrong; the error names the parameter most at fault.
    """
    try:
        return kind.model_validate(document)
    except ValidationError as error:
        problems = error.errors(include_url=False, include_input=False, include_context=False)
        raise _explain(max(problems, key=lambda problem: _rank(problem, document)), document) from None


def _rank(problem: Any, document: Any) -> tuple[int, bool]:
    """Ranks a finding: the client meant the branch of a union that got furthest, and a wrong tag explains most."""
    return len(_path(problem, document)), problem["type"] == "literal_error"


def _path(problem: Any, document: Any) -> list[str | int]:
    """Returns the location without the names that pydantic gives to branches of unions."""
    found: list[str | int] = []
    missing = problem["type"] == "missing"
    for position, step in enumerate(problem["loc"]):
        if _leads_on(document, step):
            document = document[step]
        elif not (missing and position == len(problem["loc"]) - 1):
            continue
        found.append(step)
    return found


def _leads_on(value: Any, step: str | int) -> bool:
    if isinstance(value, dict):
        return step in value
    return isinstance(value, list) and isinstance(step, int) and step < len(value)


def _explain(problem: Any, document: dict[str, Any]) -> InvalidRequest:
    param = _param(_path(problem, document))
    if problem["type"] == "missing":
        return InvalidRequest(f"Missing required parameter: '{param}'.", param=param, code="missing_required_parameter")
    if problem["type"] == "extra_forbidden" and param in UNSUPPORTED:
        message = f"Unsupported parameter: '{param}' is not supported here."
        return InvalidRequest(message, param=param, code="unsupported_parameter")
    if problem["type"] == "extra_forbidden":
        return InvalidRequest(f"Unknown parameter: '{param}'.", param=param, code="unknown_parameter")
    text = _MESSAGES.get(problem["type"]) or _text(problem)
    if problem["type"] == "value_error" and (named := _NAMED.match(text)):
        param = ".".join(filter(None, (param, named[1])))
        text = named[2]
    return InvalidRequest(f"Invalid value for '{param}': {text}.", param=param or None, code="invalid_value")


def _text(problem: Any) -> str:
    """A wrong tag is not repeated, since it may be anything, of any length."""
    text = str(problem["msg"])
    if problem["type"] == "union_tag_invalid":
        return f"must be one of {text.rpartition(': ')[2]}"
    return text.removeprefix("Value error, ")


def _param(path: list[str | int]) -> str:
    text = "".join(f"[{step}]" if isinstance(step, int) else f".{step[:64]}" for step in path)
    return text.removeprefix(".")
