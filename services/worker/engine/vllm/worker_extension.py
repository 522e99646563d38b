"""What Tidegate adds to vLLM's own worker, which holds the model: methods that collective_rpc calls by their names."""

from pathlib import Path
from typing import Any

from vllm.config import set_current_vllm_config
from vllm.model_executor.layers.vocab_parallel_embedding import ParallelLMHead
from vllm.model_executor.model_loader.reload.inplace import reload_weights
from vllm.platforms import current_platform


class WorkerExtension:
    """vLLM adds this class to the bases of its worker (options.py names it)."""

    model_runner: Any
    """vLLM's."""
    model_config: Any
    """vLLM's, of this node: each has its own folder for models."""
    reload_weights: Any
    """vLLM's method."""
    vllm_config: Any
    """vLLM's."""

    def reload_beside(self, name: str) -> None:
        """Loads the weights of another version, whose folder is beside that of the version that this node runs.

        Args:
            name: Name of the folder.
        """
        self.reload_weights(weights_path=str(Path(self.model_config.model).parent / name))

    def repack_output_layers(self) -> None:
        """Prepares output layers for the device's kernels again, as at the start. Called after their weights changed.

        On a CPU such a layer keeps a packed copy of its weight. If its weight is that of the embedding (tied weights),
        vLLM's reload changes the weight and leaves the copy as it was (vLLM 0.32).
        """
        _repack(self.model_runner.get_model())

    def reload_draft(self, name: str) -> None:
        """Loads the weights of another version of the draft model, whose folder is beside that of the model.

        vLLM 0.32 reloads a draft model only through its own way of transferring weights, so this asks for what its
        `reload_weights` does, with the configuration that it made the draft model with.

        Args:
            name: Name of the folder.
        """
        drafter = self.model_runner.drafter
        folder = Path(self.model_config.model).parent / name
        with set_current_vllm_config(self.vllm_config):
            reload_weights(drafter._create_draft_vllm_config(), drafter.model, None, str(folder), True)
        if current_platform.is_cpu():
            _repack(drafter.model)


def _repack(model: Any) -> None:
    for layer in model.modules():
        if isinstance(layer, ParallelLMHead):
            layer.quant_method.process_weights_after_loading(layer)
