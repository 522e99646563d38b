"""A local folder as Hugging Face's libraries save it."""

from dataclasses import dataclass
from pathlib import Path

from trainer.sources.source import model_name


@dataclass(frozen=True, slots=True)
class HuggingFaceFolder:
    """A source that is a folder of safetensors already."""

    path: Path

    @property
    def name(self) -> str:
        """See Source."""
        return model_name(self.path.resolve().name)

    @property
    def origin(self) -> str:
        """See Source."""
        return f"folder {self.path.resolve().name}"

    def prepare(self, scratch: Path) -> Path:
        """Returns the folder as it is."""
        return self.path
