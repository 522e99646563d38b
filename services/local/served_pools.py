"""Which pools the cluster serves: tidegate.yaml changed by the options of `tidegate up`; and which models they need."""

from dataclasses import dataclass
from pathlib import Path

import yaml

from services.local.options import EngineKind, UpOptions
from services.shared.config import Cluster, Pool, load
from services.shared.engine_settings import Engine, SimulatedEngine, VllmEngine
from services.shared.registry import Reference
from services.shared.settings import WrongSettings, check
from services.shared.speculators import reference_of
from services.shared.vllm_device import for_device
from trainer.sources.pick import pick_local
from trainer.sources.source import WrongSource

DEFAULT_CONFIG = Path("tidegate.yaml")
SIMULATED = "simulated"
PACKAGED = "smollm2-135m-instruct"


@dataclass(frozen=True, slots=True)
class NamedModel:
    """The value of `--model`: a registry reference, or a path whose model is imported as `name`."""

    name: str
    reference: str
    path: Path | None = None


def configured(config: Path | None, here: Path) -> Cluster:
    """Reads the file `config`; else tidegate.yaml in the folder `here`; else serves the packaged model alone.

    Raises:
        WrongSettings: The file cannot be read, or has a wrong key or value.
    """
    if config:
        return load(config)
    if (beside := here / DEFAULT_CONFIG).exists():
        return load(beside)
    return Cluster(pools=(Pool(name=PACKAGED, model=PACKAGED),))


def named_model(text: str) -> NamedModel:
    """Reads the value of `--model`.

    Raises:
        WrongSettings: It is neither a path of a model nor a registry reference.
    """
    path = Path(text)
    if path.exists():
        try:
            name = pick_local(text).name
        except WrongSource as error:
            raise WrongSettings(f"--model = {error}") from None
        return NamedModel(name, name, path.absolute())
    try:
        return NamedModel(Reference.parse(text).model, text)
    except ValueError:
        raise WrongSettings(
            f"--model = {text!r}: neither an existing path nor a registry reference (model or model@alias). "
            "Models of a hub or bucket: `tidegate models import` first"
        ) from None


def effective(cluster: Cluster, options: UpOptions) -> Cluster:
    """The configuration with the options applied.

    Raises:
        WrongSettings: `--model` is wrong.
    """
    pools = _chosen(cluster, options)
    changed = tuple(_with_workers(_with_engine(pool, options.engine), options.workers) for pool in pools)
    return Cluster(**{**dict(cluster), "pools": changed})


def to_yaml(cluster: Cluster) -> str:
    """The configuration as YAML, with all defaults spelt out."""
    return yaml.safe_dump(cluster.model_dump(mode="json"), sort_keys=False)


def references(cluster: Cluster) -> tuple[Reference, ...]:
    """Every model that a worker loads, once each; speculators too.

    Raises:
        WrongSettings: A pool's model is not a registry reference.
    """
    texts: dict[str, None] = {}
    for pool in cluster.pools:
        texts[pool.model] = None
        if draft := reference_of(pool.engine):
            texts[draft] = None
    return tuple(_reference(text) for text in texts)


def check_device(cluster: Cluster, *, on_cpu: bool) -> None:
    """Checks that the settings of vLLM go with the device.

    Raises:
        WrongSettings: One does not.
    """
    for pool in cluster.pools:
        if isinstance(pool.engine, VllmEngine):
            for_device(pool.engine, on_cpu=on_cpu, key=f"pools.{pool.name}.engine")


def _chosen(cluster: Cluster, options: UpOptions) -> tuple[Pool, ...]:
    if options.model:
        return _of_model(cluster, named_model(options.model))
    if options.engine is None:
        return cluster.pools
    of_kind = tuple(pool for pool in cluster.pools if pool.engine.kind == options.engine)
    default = SIMULATED if options.engine == SIMULATED else PACKAGED
    return of_kind or (Pool(name=default, model=default, engine=_engine(options.engine)),)


def _of_model(cluster: Cluster, model: NamedModel) -> tuple[Pool, ...]:
    """The pools that serve the model already; else one new pool with the model's name."""
    serving = tuple(pool for pool in cluster.pools if model.name in (pool.name, _reference(pool.model).model))
    if serving:
        return tuple(pool.model_copy(update={"model": model.reference}) for pool in serving)
    kind: EngineKind = "simulated" if model.name == SIMULATED else "vllm"
    fields = {"name": model.name, "model": model.reference, "engine": _engine(kind)}
    return (check(Pool, fields, lambda key: f"--model = {model.name!r} as pool: {key}"),)


def _with_engine(pool: Pool, kind: EngineKind | None) -> Pool:
    if kind is None or pool.engine.kind == kind:
        return pool
    return pool.model_copy(update={"engine": _engine(kind)})


def _with_workers(pool: Pool, workers: int | None) -> Pool:
    return pool if workers is None else pool.model_copy(update={"workers": workers})


def _engine(kind: EngineKind) -> Engine:
    return SimulatedEngine() if kind == "simulated" else VllmEngine()


def _reference(text: str) -> Reference:
    try:
        return Reference.parse(text)
    except ValueError as error:
        raise WrongSettings(f"pools: model = {error}") from None
