"""The one rule for what clients send, and pydantic's findings as OpenAI's errors.

What only hints, labels, or asks for an extra that can be left out is left out and named. What would change the answer
and cannot be done is refused, and the error says what to use instead. All else must be right.
"""

import re
from typing import Any, TypeVar

from pydantic import BaseModel, ValidationError

from services.gateway.openai import problem_texts
from services.gateway.openai.fields import LENIENT, Request
from services.gateway.openai.ignored_fields import KNOWN, NONE, IgnoredFields, ignored_fields
from services.gateway.openai.unsupported_fields import UNSUPPORTED, UNSUPPORTED_VALUES
from services.shared.errors import InvalidRequest

M = TypeVar("M", bound=BaseModel)
R = TypeVar("R", bound=Request)
Path = list[str | int]
_NAMED = re.compile(r"^([a-z_]+(?:\[\d+\])?(?:\.[a-z_]+(?:\[\d+\])?)*): (.*)$", re.DOTALL)


def check(kind: type[M], document: dict[str, Any]) -> M:
    """Validates a decoded body. Unknown fields are refused, unless the body is a request of OpenAI's API.

    Args:
        kind: the model of the body.
        document: the body.

    Raises:
        InvalidRequest: the body is wrong; the error names the parameter most at fault.
    """
    if issubclass(kind, Request):
        return accept(kind, document)[0]
    try:
        return kind.model_validate(document)
    except ValidationError as error:
        raise explain(error, document) from None


def accept(kind: type[R], document: dict[str, Any], *, strict: bool = False) -> tuple[R, IgnoredFields]:
    """Validates a decoded body, and leaves out what may be left out; REST, gRPC and batches all use this function.

    The first try forbids unknown fields. Most requests have none, and cost nothing more.

    Args:
        kind: the model of the body.
        document: the body.
        strict: unknown fields at the top level are refused.

    Returns:
        The request, and what was left out of it.

    Raises:
        InvalidRequest: the body is wrong; the error names the parameter most at fault.
    """
    try:
        request = kind.model_validate(document)
    except ValidationError:
        return _accept_without_unknown(kind, document, strict)
    return request, NONE if kind.labels.isdisjoint(document) else _labels(kind, document)


def _labels(kind: type[R], document: dict[str, Any]) -> IgnoredFields:
    ignored = IgnoredFields()
    for name in document:
        if name in kind.labels and document[name] is not None:
            ignored.add(name, name)
    return ignored


def _accept_without_unknown(kind: type[R], document: dict[str, Any], strict: bool) -> tuple[R, IgnoredFields]:
    for name in document:
        if name not in kind.attributes:
            _check_unknown(name, document[name], strict)
    try:
        request = kind.model_validate(document, extra="ignore", context=LENIENT)
    except ValidationError as error:
        raise explain(error, document) from None
    return request, ignored_fields(document, request)


def _check_unknown(name: str, value: Any, strict: bool) -> None:
    """Raises InvalidRequest if a field of the top level may not be left out. Null is not set."""
    if (row := UNSUPPORTED.get(name)) and row.asks(value):
        raise row.error(name)
    if strict and value is not None:
        raise _unknown(_param([name]))


def _unknown(param: str) -> InvalidRequest:
    if param in KNOWN:
        message = f"Unsupported parameter: '{param}'. Leave it out."
        return InvalidRequest(message, param=param, code="unsupported_parameter")
    return InvalidRequest(f"Unknown parameter: '{param}'.", param=param, code="unknown_parameter")


def explain(error: ValidationError, document: dict[str, Any]) -> InvalidRequest:
    """Returns the error that tells a client what is wrong with a document, at the place most at fault."""
    problems = error.errors(include_url=False, include_input=False)
    places = [(_path(problem, document), problem) for problem in problems]
    path, worst = max(places, key=lambda place: _rank(*place))
    if refusal := _refusal(path, document):
        return refusal
    param = _param(path)
    if worst["type"] in ("missing", "union_tag_not_found") or _is_null(path, document):
        return InvalidRequest(f"Missing required parameter: '{param}'.", param=param, code="missing_required_parameter")
    if worst["type"] == "extra_forbidden":
        return _unknown(param)
    text = _text(worst)
    if worst["type"] == "literal_error" or worst["type"] in problem_texts.TYPES:
        others = (problem for place, problem in places if place == path and problem["type"] in problem_texts.TYPES)
        text = problem_texts.either([text, *map(_text, others)])
    if worst["type"] == "value_error" and (named := _NAMED.match(text)):
        param = ".".join(filter(None, (param, named[1])))
        text = named[2]
    where = f"Invalid value for '{param}'" if param else "Invalid request"
    return InvalidRequest(f"{where}: {text}.", param=param or None, code="invalid_value")


def _rank(path: Path, problem: Any) -> tuple[int, bool, bool]:
    """Ranks a finding: the client meant the branch of a union that got furthest; a wrong tag explains most.

    A value that has the right type for one branch is not told of the types of the others.
    """
    kind = problem["type"]
    return len(path), kind in ("literal_error", "union_tag_invalid"), kind not in problem_texts.TYPES


def _path(problem: Any, document: Any) -> Path:
    """Returns the location without the names that pydantic gives to branches of unions."""
    found: Path = []
    missing = problem["type"] == "missing"
    for position, step in enumerate(problem["loc"]):
        if _leads_on(document, step):
            document = document[step]
        elif not (missing and position == len(problem["loc"]) - 1):
            continue
        found.append(step)
    if problem["type"] in ("union_tag_invalid", "union_tag_not_found"):
        found.append(_tag(problem["ctx"]["discriminator"]))
    return found


def _tag(discriminator: str) -> str:
    """Returns the field that chooses the branch of a union. A function that chooses looks at the type."""
    return discriminator.strip("'") if discriminator.startswith("'") else "type"


def _leads_on(value: Any, step: str | int) -> bool:
    if isinstance(value, dict):
        return step in value
    return isinstance(value, list) and isinstance(step, int) and step < len(value)


def _is_null(path: Path, document: Any) -> bool:
    """Null is not set, so a field that must be set is missing."""
    return bool(path) and isinstance(path[-1], str) and _at(path, document) is None


def _at(path: Path, document: Any) -> Any:
    for step in path:
        document = document[step] if _leads_on(document, step) else None
    return document


def _refusal(path: Path, document: dict[str, Any]) -> InvalidRequest | None:
    """Returns the error of the table of unsupported values, if a field on the path stands there."""
    shape = ""
    for length, step in enumerate(path, start=1):
        shape += "[]" if isinstance(step, int) else f".{step}"
        if (row := UNSUPPORTED_VALUES.get(shape.removeprefix("."))) and row.asks(_at(path[:length], document)):
            return row.value_error(_param(path[:length]))
    return None


def _text(problem: Any) -> str:
    return problem_texts.text(problem["type"], problem.get("ctx", {}))


def _param(path: Path) -> str:
    text = "".join(f"[{step}]" if isinstance(step, int) else f".{step[:64]}" for step in path)
    return text.removeprefix(".")
