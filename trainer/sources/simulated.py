"""A made-up model for the simulated engine: real files of a few kilobytes, different for each seed."""

import json
from dataclasses import dataclass
from pathlib import Path

from services.shared.architectures import SIMULATED

NAME = "simulated"
CONFIG = {
    "architectures": [SIMULATED],
    "model_type": "simulated",
    "max_position_embeddings": 1_048_576,
    "vocab_size": 32_768,
}


@dataclass(frozen=True, slots=True)
class SimulatedModel:
    """The source of a model for the simulated engine; another seed is another model."""

    seed: int = 0
    name: str = NAME

    @property
    def origin(self) -> str:
        """See Source."""
        return f"made up from seed {self.seed}"

    def prepare(self, scratch: Path) -> Path:
        """Writes weights and config.json into `scratch`."""
        import numpy as np
        from safetensors.numpy import save_file

        weights = np.random.default_rng(self.seed).standard_normal((16, 64), dtype=np.float32)
        save_file({"weights": weights}, scratch / "model.safetensors")
        (scratch / "config.json").write_text(json.dumps(CONFIG, indent=2))
        return scratch
