"""Checks the settings whose names and values only vLLM knows, before the worker binds an address."""

from collections.abc import Iterable, Iterator
from dataclasses import fields
from difflib import get_close_matches
from enum import Enum
from types import SimpleNamespace
from typing import Any, get_args, get_type_hints

from pydantic import PydanticUserError, TypeAdapter, ValidationError
from pydantic_core import to_json
from vllm.config import quantization as quantization_config
from vllm.config.cache import CacheDType
from vllm.engine import arg_utils
from vllm.engine.arg_utils import AsyncEngineArgs
from vllm.model_executor.layers.quantization import QUANTIZATION_METHODS
from vllm.platforms import current_platform

from services.shared.engine_settings import VllmEngine
from services.shared.settings import WrongSettings
from services.shared.vllm_args import refusal

_MAX_PROBLEMS = 20


def check_arguments(config: VllmEngine, key: str) -> VllmEngine:
    """Returns the settings with the values of `args` as vLLM's types.

    Args:
        config: Settings of the pool.
        key: Configuration key of the settings, for the error.

    Raises:
        WrongSettings: The installed vLLM does not know a name or a value, or this machine has too few GPUs. The message
            names each key. It does not show values of `args`: a misspelt secret may be among them.
    """
    problems = [*_unknown_methods(config), *_missing_gpus(config, _gpus())]
    read: dict[str, Any] = {}
    for name, value in config.args.items():
        try:
            read[name] = _read(name, value)
        except ValueError as error:
            problems.append(f"args.{name}: {error}")
    if problems:
        raise WrongSettings("\n".join(f"{key}.{problem}" for problem in problems[:_MAX_PROBLEMS]))
    return config.model_copy(update={"args": read})


def _unknown_methods(config: VllmEngine) -> Iterator[str]:
    given = (
        ("quantization", config.quantization, QUANTIZATION_METHODS),
        ("kv_cache_dtype", config.kv_cache_dtype, get_args(CacheDType)),
    )
    for name, value, known in given:
        if value is not None and value not in known:
            yield f"{name} = {value!r}: this vLLM knows {', '.join(known)}"


def _missing_gpus(config: VllmEngine, gpus: int | None) -> Iterator[str]:
    if gpus is not None and config.ranks_per_node > gpus:
        nodes = f" on {config.nodes} nodes" if config.nodes > 1 else ""
        each = " on each" if config.nodes > 1 else ""
        yield (
            f"tensor_parallel = {config.tensor_parallel} x pipeline_parallel = {config.pipeline_parallel}{nodes}:"
            f" a worker would need {config.ranks_per_node} GPUs{each}, and this one sees {gpus}"
        )


def _gpus() -> int | None:
    """Returns how many GPUs this process sees; None on a CPU."""
    return None if current_platform.is_cpu() else current_platform.device_count()


def _read(name: str, value: Any) -> Any:
    """Returns the value as vLLM's type.

    Raises:
        ValueError: vLLM has no such argument, or the value is of the wrong type. The message does not show it.
    """
    kind = _type_of(name)
    if isinstance(value, str) and (choices := [*_enums(kind)]):
        return _member(choices, value)
    try:
        # In JSON a list may be a set, but a text is never a number.
        return TypeAdapter(kind).validate_json(to_json(value), strict=True)
    except ValidationError as error:
        raise ValueError("; ".join(dict.fromkeys(_explain(each, value) for each in error.errors()))) from None
    except (PydanticUserError, TypeError):
        raise ValueError(f"vLLM does not take this value from a file; its type is {kind}") from None


def _type_of(name: str) -> Any:
    """Returns the type of the argument. Only this one is resolved: others name what vLLM imports for type checks only.

    Raises:
        ValueError: vLLM has no such argument, or its type has no meaning at run time.
    """
    types = {field.name: field.type for field in fields(AsyncEngineArgs)}
    if name not in types:
        raise ValueError(f"vLLM has no such argument{_suggestion(name, types)}")
    names = {**vars(quantization_config), **vars(arg_utils)}
    try:
        return get_type_hints(SimpleNamespace(__annotations__={name: types[name]}), globalns=names)[name]
    except NameError:
        raise ValueError("this vLLM does not say which values are right; it cannot be set here") from None


def _suggestion(name: str, known: Iterable[str]) -> str:
    close = get_close_matches(name.strip("-").replace("-", "_"), known, 1)
    if not close:
        return ""
    reason = refusal(close[0])
    return f". Do you mean {close[0]}?" + (f" ({reason})" if reason else "")


def _enums(kind: Any) -> Iterator[type[Enum]]:
    """The enumerations that a type consists of. A file has the name of a member, such as FLASH_ATTN."""
    if isinstance(kind, type) and issubclass(kind, Enum):
        yield kind
    for part in get_args(kind):
        yield from _enums(part)


def _member(choices: list[type[Enum]], name: str) -> Enum:
    members = {each.name: each for choice in choices for each in choice}
    if name.upper() not in members:
        raise ValueError(f"it must be one of {', '.join(members)}")
    return members[name.upper()]


def _explain(problem: Any, value: Any) -> str:
    """What is wrong, after the keys inside `value` where it is. Pydantic's place also has names of types."""
    place: list[str] = []
    for part in problem["loc"]:
        if isinstance(value, dict) and part in value:
            place, value = [*place, str(part)], value[part]
    return f"{'.'.join(place)}: {problem['msg']}" if place else str(problem["msg"])
