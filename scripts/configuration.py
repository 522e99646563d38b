"""Writes docs/configuration.md from the settings' models: every key with type, default, unit and purpose.

usage: python scripts/configuration.py
"""

import math
import sys
import textwrap
import types
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Annotated, Any, Literal, Union, get_args, get_origin

from annotated_types import Ge, Gt, Le, Lt
from pydantic import BaseModel, SecretStr
from pydantic.fields import FieldInfo
from pydantic_core import PydanticUndefined

if __name__ == "__main__":
    sys.path.insert(0, str(Path(__file__).parents[1]))

from services.gateway.settings import GatewaySettings
from services.router.settings import RouterSettings
from services.shared import config
from services.shared.class_policy import ClassPolicy
from services.shared.settings import PREFIX, Settings
from services.worker.settings import FollowerSettings, WorkerSettings
from trainer.settings import PublisherSettings, TrainerSettings

PAGE = Path("docs/configuration.md")
COLUMNS = 118

INTRODUCTION = """# Configuration

`scripts/configuration.py` writes this page from the settings' models; do not edit it by hand.

- [tidegate.yaml](#tidegateyaml) says what the cluster serves. All processes read the same file.
- [Environment variables](#environment-variables) tell each process its addresses, keys and limits.

An unknown key, a missing key or a wrong value stops the start, and the message names it. `tidegate up` sets the
variables of all processes; docker compose and the Helm chart do so too.
"""
FILE = """## tidegate.yaml

`pools[]` means each pool in the list. `<class>`, `<model>` and `<tier>` stand for a name. `engine(kind: vllm)` means an
engine whose key `kind` is vllm.
"""
ENVIRONMENT = """## Environment variables

Lists have commas between their items. A variable whose default is *required* must be set. `<variable>_FILE` may name a
file that holds the value, which keeps secrets out of the environment.
"""
CLASS_DEFAULTS = """### Defaults of each class
"""

UNITS = {
    "s": "seconds",
    "ms": "milliseconds",
    "bytes": "bytes",
    "kib": "KiB",
    "mib": "MiB",
    "gib": "GiB",
    "tokens": "tokens",
}
UNITS_BY_NAME = {
    "max_running": "requests",
    "max_queued": "requests",
    "max_open_requests": "requests",
    "batch_concurrency": "requests",
    "overtaking": "requests",
    "streams": "streams",
    "tenant_streams": "streams",
    "workers": "processes",
    "at_once": "workers",
    "replicas": "workers",
    "share": "fraction of workers",
    "tensor_parallel": "GPUs",
    "pipeline_parallel": "GPUs",
    "data_parallel": "copies",
    "nodes": "nodes",
    "gpu_memory_utilization": "fraction of memory",
    "lookup_max": "tokens",
    "lookup_min": "tokens",
    "isolation": "fraction of slots",
    "spare_versions": "versions",
    "kept_jobs": "folders",
    "max_attempts": "starts",
    "prompt": "currency per million tokens",
    "cached": "currency per million tokens",
    "completion": "currency per million tokens",
}
PROCESSES: tuple[tuple[str, type[Settings], str], ...] = (
    ("Gateway", GatewaySettings, ""),
    ("Router", RouterSettings, ""),
    ("Worker", WorkerSettings, ""),
    (
        "Follower",
        FollowerSettings,
        "`python -m services.worker --follow` ([models.md](models.md#workers-on-several-nodes)).\n\n",
    ),
    ("Trainer", TrainerSettings, ""),
    (
        "Command line",
        PublisherSettings,
        "`tidegate models` and `tidegate train run` use the local cluster's registry and key. With\n"
        "`TIDEGATE_S3_ENDPOINT` set, they use these variables.\n\n",
    ),
)


def page() -> str:
    """The whole page, made from the models as they are now."""
    return "\n".join([INTRODUCTION, FILE, *_file_sections(), ENVIRONMENT, *_environment_sections()])


def models() -> Iterator[type[BaseModel]]:
    """Every model of the page."""
    yield from (model for _, model in _sections("", config.Cluster))
    yield from (model for _, model, _ in PROCESSES)


def _file_sections() -> Iterator[str]:
    for path, model in _sections("", config.Cluster):
        yield f"### {f'`{path}`' if path else 'Top level'}\n\n{_summary(model)}{_table(model)}"
        if model is ClassPolicy:
            yield _class_defaults()


def _environment_sections() -> Iterator[str]:
    for title, kind, note in PROCESSES:
        yield f"### {title}\n\n{note}{_table(kind, _variable)}"


def _variable(name: str) -> str:
    """The variable that a field is read from."""
    return PREFIX + name.upper()


def _sections(path: str, model: type[BaseModel]) -> Iterator[tuple[str, type[BaseModel]]]:
    """The model at `path` and those inside it, in the order of the file."""
    yield path, model
    for name, field in model.model_fields.items():
        below = f"{path}.{name}" if path else name
        found = list(_models_in(field.annotation, name))
        for suffix, inner in found:
            yield from _sections(below + suffix + (_tag(inner) if len(found) > 1 else ""), inner)


def _models_in(annotation: Any, name: str) -> Iterator[tuple[str, type[BaseModel]]]:
    """The models that a field holds, each with what its path has behind the field's name."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        yield "", annotation
        return
    origin, arguments = get_origin(annotation), get_args(annotation)
    place = {"classes": "<class>", "models": "<model>", "tiers": "<tier>"}.get(name, "<name>")
    behind = "[]" if origin is tuple else f".{place}" if origin is dict else ""
    for argument in arguments:
        for suffix, model in _models_in(argument, name):
            yield behind + suffix, model


def _tag(model: type[BaseModel]) -> str:
    """How a file selects this model of a union, such as `(kind: vllm)`."""
    key = "kind" if "kind" in model.model_fields else "method"
    return f"({key}: {', '.join(get_args(model.model_fields[key].annotation))})"


def _summary(model: type[BaseModel]) -> str:
    return textwrap.fill(" ".join((model.__doc__ or "").split()), COLUMNS) + "\n\n"


def _table(model: type[BaseModel], key: Any = str) -> str:
    head = ["| key | type | default | unit | purpose |", "|---|---|---|---|---|"]
    return "\n".join([*head, *(_row(key(name), name, field) for name, field in model.model_fields.items()), ""])


def _row(key: str, name: str, field: FieldInfo) -> str:
    cells = (f"`{key}`", _type(field), _default(field), _unit(name), field.description or "")
    return f"| {' | '.join(cell.replace('|', chr(92) + '|') for cell in cells)} |"


def _unit(name: str) -> str:
    return UNITS_BY_NAME.get(name) or UNITS.get(name.rpartition("_")[2], "-")


def _type(field: FieldInfo) -> str:
    kind = _without_none(field.annotation)
    origin = get_origin(kind)
    if origin is Literal:
        return ", ".join(f"`{value}`" for value in get_args(kind))
    if origin is tuple:
        return "list"
    if origin is dict:
        return "mapping"
    if origin in (Union, types.UnionType) or (isinstance(kind, type) and issubclass(kind, BaseModel)):
        return "section"
    names: Mapping[Any, str] = {
        bool: "true or false",
        int: "integer",
        float: "number",
        str: "text",
        Path: "path",
        SecretStr: "secret",
    }
    return names.get(kind, "text") + _range(field)


def _range(field: FieldInfo) -> str:
    """The allowed values of a number, such as `, 1 to 16`."""
    low = next((_number(each.ge) for each in field.metadata if isinstance(each, Ge)), None)
    above = next((_number(each.gt) for each in field.metadata if isinstance(each, Gt)), None)
    high = next((each.le for each in field.metadata if isinstance(each, Le)), None)
    assert not any(isinstance(each, Lt) for each in field.metadata)  # noqa: S101
    if low is None and above is None:
        return ""
    if high is None:
        return f", at least {low}" if above is None else f", more than {above}"
    return f", {low} to {_number(high)}" if above is None else f", more than {above}, at most {_number(high)}"


def _default(field: FieldInfo) -> str:
    if field.is_required():
        return "*required*"
    default = field.default if field.default is not PydanticUndefined else None
    if field.default_factory is not None or default is None or default == ():
        return "-"
    if isinstance(default, bool):
        return "`true`" if default else "`false`"
    return f"`{_number(default) if isinstance(default, int | float) else default}`"


def _number(value: Any) -> str:
    """A number in digits, such as 65536 and 0.4."""
    return str(int(value)) if math.isclose(value, int(value)) else str(value)


def _without_none(annotation: Any) -> Any:
    """T for `T | None`, and for `Annotated[T, ...]`."""
    if get_origin(annotation) is Annotated:
        return _without_none(get_args(annotation)[0])
    rest = [each for each in get_args(annotation) if each is not type(None)]
    is_union = get_origin(annotation) in (Union, types.UnionType)
    return _without_none(rest[0]) if is_union and len(rest) == 1 else annotation


def _class_defaults() -> str:
    """A table with the defaults of each class, which differ from the model's own."""
    classes = config.Cluster(pools=(config.Pool(name="any", model="any"),)).classes
    names = list(ClassPolicy.model_fields)
    rows = [f"| `{name}` | {' | '.join(_shown(getattr(classes[c], name)) for c in classes)} |" for name in names]
    head = [f"| key | {' | '.join(classes)} |", f"|---|{'---|' * len(classes)}"]
    return "\n".join([CLASS_DEFAULTS, *head, *rows, ""])


def _shown(value: Any) -> str:
    return f"`{str(value).lower() if isinstance(value, bool) else _number(value)}`"


if __name__ == "__main__":
    PAGE.write_text(page())
