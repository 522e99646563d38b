"""A local folder as Hugging Face's libraries save it."""

from dataclasses import dataclass
from pathlib import Path

from trainer.sources.source import model_name


@dataclass(frozen=True, slots=True)
class HuggingFaceFolder:
    path: Path

    @property
    def name(self) -> str:
        return model_name(self.path.resolve().name)

    @property
    def origin(self) -> str:
        return f"folder {self.path.resolve().name}"

    def prepare(self, scratch: Path) -> Path:
        return self.path
