"""Which GPUs of this machine each process that runs a model gets. Pure: the machine was looked at before."""

from collections.abc import Sequence
from dataclasses import dataclass

from services.shared.engine_settings import VllmEngine
from services.shared.settings import WrongSettings

# vLLM's own default of gpu_memory_utilization.
_VLLM_SHARE = 0.92


@dataclass(frozen=True, slots=True)
class GpuNeed:
    """What one process needs.

    Attributes:
        process: Name of the process.
        key: Configuration key of its engine, for errors.
        gpus: Number of GPUs.
        share: Fraction of each GPU's memory that it takes; 0 where the size of its KV cache is set instead.
    """

    process: str
    key: str
    gpus: int
    share: float

    @classmethod
    def of(cls, process: str, pool: str, engine: VllmEngine) -> "GpuNeed":
        """What a process of this engine needs, on one node."""
        share = 0.0 if engine.kv_memory_gib is not None else engine.gpu_memory_utilization or _VLLM_SHARE
        return cls(process, f"pools.{pool}.engine", engine.ranks_per_node, share)


def hand_out(needs: Sequence[GpuNeed], gpus: Sequence[str]) -> dict[str, tuple[str, ...]]:
    """Gives each process GPUs of its own while there are any, and then those that the fewest others use.

    Args:
        needs: The processes, in the order in which they choose.
        gpus: The machine's GPUs. Empty: they could not be found out, and nothing is handed out.

    Returns:
        The GPUs by the names of the processes.

    Raises:
        WrongSettings: A process needs more GPUs than there are, or processes on one GPU take more than its memory.
    """
    if not gpus:
        return {}
    users = dict.fromkeys(gpus, 0)
    taken = dict.fromkeys(gpus, 0.0)
    given: dict[str, tuple[str, ...]] = {}
    for need in needs:
        if need.gpus > len(gpus):
            raise WrongSettings(
                f"{need.key}: tensor_parallel x pipeline_parallel needs {need.gpus} GPUs on a node, and this machine"
                f" has {len(gpus)}"
            )
        given[need.process] = chosen = tuple(sorted(gpus, key=lambda gpu: users[gpu])[: need.gpus])
        for gpu in chosen:
            _check_memory(need, gpu, taken[gpu])
            users[gpu] += 1
            taken[gpu] += need.share
    return given


def _check_memory(need: GpuNeed, gpu: str, taken: float) -> None:
    if taken and taken + need.share > 1:
        raise WrongSettings(
            f"{need.key}.gpu_memory_utilization = {need.share:g}: {need.process} shares GPU {gpu} with workers that"
            f" take {taken:g} of its memory. Lower it for all of them so that the sum is at most 1, or start fewer"
            " workers"
        )
