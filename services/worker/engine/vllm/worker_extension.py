"""What Tidegate adds to vLLM's own worker, which holds the model: methods that collective_rpc calls by their names."""

from typing import Any

from vllm.model_executor.layers.vocab_parallel_embedding import ParallelLMHead


class WorkerExtension:
    """vLLM adds this class to the bases of its worker (options.py names it)."""

    model_runner: Any
    """vLLM's."""

    def repack_output_layers(self) -> None:
        """Prepares output layers for the device's kernels again, as at the start. Called after their weights changed.

        On a CPU such a layer keeps a packed copy of its weight. If its weight is that of the embedding (tied weights),
        vLLM's reload changes the weight and leaves the copy as it was (vLLM 0.32).
        """
        for layer in self.model_runner.get_model().modules():
            if isinstance(layer, ParallelLMHead):
                layer.quant_method.process_weights_after_loading(layer)
