"""Whether a staged version can take the place of the one that vLLM runs: in place, by a new start, or not at all.

What no start of this engine could serve is refused here, while the worker serves: else it would be drained, and the
pool would find out by a worker that does not come back.
"""

import json
from pathlib import Path
from typing import Any

from vllm.engine.arg_utils import AsyncEngineArgs

from services.shared.staging import RefusedModel
from services.worker.engine.contract import Model, unfit
from services.worker.engine.fit import misfit, unlike
from services.worker.engine.tensors import difference, shapes
from services.worker.engine.vllm.start_settings import CONFIG, changed_setting


def why_restart(old: Model, new: Model, arguments: dict[str, Any], reason: str | None = None) -> str | None:
    """Returns why only an engine that starts on a version can serve it; None: the weights can change in place.

    Args:
        old: What the engine runs.
        new: The staged version.
        arguments: vLLM's arguments for a start on the new version.
        reason: Why the weights cannot change in place, if that is known already.

    Raises:
        RefusedModel: No start could serve the version.
    """
    reason = reason or unfit(old.manifest, new.manifest)
    try:
        before, after = shapes(old.folder), shapes(new.folder)
        changed = changed_setting(old.folder, new.folder)
    except Exception as error:  # noqa: BLE001 -- the libraries raise many kinds for what they cannot read
        raise RefusedModel(f"{new.manifest.model}: no engine can read it: {error}") from None
    reason = reason or changed
    wrong = _cannot_start(new.folder, arguments) or misfit(_config(new.folder), after) if reason else None
    if changed is None and old.manifest.architecture == new.manifest.architecture:
        wrong = wrong or unlike(before, after)
    if wrong:
        raise RefusedModel(f"{new.manifest.model}: no engine can load it: {wrong}")
    return reason or difference(before, after)


def _cannot_start(folder: Path, arguments: dict[str, Any]) -> str | None:
    """Lets vLLM read the settings of a model as at a start, which also finds its code for the architecture."""
    try:
        AsyncEngineArgs(**arguments | {"model": str(folder)}).create_model_config()
    except Exception as error:  # noqa: BLE001 -- whatever it is, a start would fail in the same way
        return str(error).partition("\n[type=")[0].strip()
    return None


def _config(folder: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((folder / CONFIG).read_bytes())
    return found
