"""What Tidegate adds to vLLM's own worker, which holds the model: methods that collective_rpc calls by their names."""

from pathlib import Path
from typing import Any

from vllm.model_executor.layers.vocab_parallel_embedding import ParallelLMHead


class WorkerExtension:
    """vLLM adds this class to the bases of its worker (options.py names it)."""

    model_runner: Any
    """vLLM's."""
    model_config: Any
    """vLLM's, of this node: each has its own folder for models."""
    reload_weights: Any
    """vLLM's method."""

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
        for layer in self.model_runner.get_model().modules():
            if isinstance(layer, ParallelLMHead):
                layer.quant_method.process_weights_after_loading(layer)
