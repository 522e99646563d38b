"""Metric llm_gpu_memory_bytes{gpu_id}: memory in use on each GPU of this machine."""

from collections.abc import Iterator

from prometheus_client.core import GaugeMetricFamily, Metric
from prometheus_client.registry import Collector


class GpuCollector(Collector):
    """Reads GPU memory from NVIDIA's management library: it needs no CUDA context, so no GPU memory itself."""

    def __init__(self) -> None:
        from vllm.third_party import pynvml

        self._nvml = pynvml
        try:
            pynvml.nvmlInit()
            self._gpus = [pynvml.nvmlDeviceGetHandleByIndex(i) for i in range(pynvml.nvmlDeviceGetCount())]
        except pynvml.NVMLError:
            self._gpus = []

    def collect(self) -> Iterator[Metric]:
        """Yields the memory in use on each GPU, in bytes."""
        family = GaugeMetricFamily("llm_gpu_memory_bytes", "GPU memory in use", labels=["gpu_id"])
        for index, gpu in enumerate(self._gpus):
            family.add_metric([str(index)], self._nvml.nvmlDeviceGetMemoryInfo(gpu).used)
        yield family
