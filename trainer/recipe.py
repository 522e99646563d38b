"""A recipe: all that a training run is told, in one validated YAML file."""

from pathlib import Path
from typing import Annotated, Literal, Self

import yaml
from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

from services.shared.config import Name
from services.shared.registry import Reference
from services.shared.settings import WrongSettings, check

ADAPTER_SUFFIX = "-adapter"


class Strict(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Lora(Strict):
    """Low-rank adaptation (Hu et al., 2021): W + alpha / r * B A, where only A and B learn."""

    r: int = Field(16, ge=1, le=512)
    alpha: int = Field(32, ge=1)
    dropout: float = Field(0.0, ge=0, lt=1)
    targets: Literal["all-linear"] | tuple[str, ...] = Field("all-linear", description="names of the layers that learn")


class Publish(Strict):
    """Where the result goes. The adapter becomes a model of its own, `name` with ADAPTER_SUFFIX."""

    name: Name
    alias: Name = "latest"
    merged: bool = True
    adapter: bool = False
    rollout: bool = Field(False, description="have the router bring the pool called `name` to the merged model")

    @model_validator(mode="after")
    def _something_is_published(self) -> Self:
        if not (self.merged or self.adapter):
            raise ValueError("neither merged nor adapter is true: nothing would be published")
        if self.rollout and not self.merged:
            raise ValueError("a rollout needs merged: true")
        if self.adapter:
            Reference.parse(self.name + ADAPTER_SUFFIX)
        return self


class Recipe(Strict):
    """How long it takes is told by one of `steps` and `epochs`."""

    base: str = Field(description="registry reference: model, model@alias or model@version")
    method: Literal["sft", "lora"] = Field(description="sft: all weights learn; lora: a low-rank adapter does")
    data: Path = Field(description="JSONL of chats; relative to the recipe")
    held_out: float = Field(0.1, gt=0, le=0.5, description="share of the chats that is not trained on, to measure with")
    steps: Annotated[int | None, Field(ge=1, le=10_000_000)] = None
    epochs: Annotated[float | None, Field(gt=0, le=1000)] = None
    learning_rate: float = Field(gt=0, le=1)
    batch: int = Field(4, ge=1, le=4096, description="chats a step")
    max_length: int = Field(1024, ge=8, le=1_048_576, description="tokens; longer chats lose their end")
    lora: Lora | None = None
    seed: int = Field(0, ge=0, le=2**31 - 1)
    save_every: int = Field(50, ge=1, description="steps between checkpoints")
    dtype: Literal["float32", "bfloat16"] = "float32"
    publish: Publish | None = None

    @field_validator("base")
    @classmethod
    def _is_a_reference(cls, base: str) -> str:
        Reference.parse(base)
        return base

    @model_validator(mode="after")
    def _is_whole(self) -> Self:
        if (self.steps is None) == (self.epochs is None):
            raise ValueError("one of steps and epochs says how long to train")
        if self.lora and self.method != "lora":
            raise ValueError("lora is set, but method is sft")
        if self.method == "sft" and self.publish and self.publish.adapter:
            raise ValueError("publish.adapter is true, but method sft makes no adapter")
        return self

    @property
    def reference(self) -> Reference:
        return Reference.parse(self.base)

    @property
    def lora_shape(self) -> Lora:
        return self.lora or Lora()


def load(file: Path) -> Recipe:
    """`data` becomes absolute. Raises WrongSettings naming file, key and value."""
    try:
        document = yaml.safe_load(file.read_text())
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise WrongSettings(f"{file}: {error}") from None
    recipe = check(Recipe, document, lambda key: f"{file}: {key}")
    return recipe.model_copy(update={"data": (file.parent / recipe.data).absolute()})
