"""A recipe: everything that a training run needs to know, in one validated YAML file."""

from pathlib import Path
from typing import Annotated, Literal, Self

import yaml
from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

from services.shared.config import Name
from services.shared.registry import CANDIDATE, MOVED_BY_ROLLOUT, Reference
from services.shared.settings import WrongSettings, check

ADAPTER_SUFFIX = "-adapter"


class Strict(BaseModel):
    """A part of a recipe. Unknown keys are refused."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class Lora(Strict):
    """Low-rank adaptation (Hu et al., 2021): W + alpha / r * B A, where only A and B are trained."""

    r: int = Field(16, ge=1, le=512, description="Rank of the adapter.")
    alpha: int = Field(32, ge=1, description="Scale of the adapter: its output is multiplied by alpha / r.")
    dropout: float = Field(0.0, ge=0, lt=1, description="Share of the adapter's inputs that is dropped in training.")
    targets: Literal["all-linear"] | tuple[str, ...] = Field(
        "all-linear", description="Names of the layers that get an adapter; all-linear: every linear layer."
    )


class Gate(Strict):
    """What a result must be like to be published by itself."""

    max_loss_increase: float = Field(
        0.0,
        ge=-100,
        le=100,
        description="Most that the held-out loss may be above the base's, in nats a token; below 0: least that it must"
        " be below.",
    )
    publish_worse: bool = Field(False, description="Publish the result even if its held-out loss is worse than that.")


class Publish(Strict):
    """Where the result is published. The adapter is a model of its own: `name` with ADAPTER_SUFFIX."""

    name: Name = Field(description="Name of the model in the registry.")
    alias: Name | None = Field(
        None,
        description="Alias that is moved to the new version. Default: candidate for the model, latest for the adapter.",
    )
    merged: bool = Field(True, description="Publish the whole model, with the adapter merged into it.")
    adapter: bool = Field(False, description="Publish the adapter alone too.")
    rollout: bool = Field(False, description="Start a rollout of the pool called `name` to the merged model.")

    @model_validator(mode="after")
    def _something_is_published(self) -> Self:
        if not (self.merged or self.adapter):
            raise ValueError("neither merged nor adapter is true: nothing would be published")
        if self.merged and self.alias in MOVED_BY_ROLLOUT:
            raise ValueError(
                f"alias: {self.alias} moves by a rollout, and not when a model is published: leave it out, and bring"
                f" workers there with `tidegate models promote {self.name} {CANDIDATE} --alias {self.alias}`"
            )
        if self.rollout and not self.merged:
            raise ValueError("a rollout needs merged: true")
        if self.adapter:
            Reference.parse(self.name + ADAPTER_SUFFIX)
        return self


class Recipe(Strict):
    """One training run. Exactly one of `steps` and `epochs` sets its length."""

    base: str = Field(description="Registry reference of the base model: model, model@alias or model@version.")
    method: Literal["sft", "lora"] = Field(description="sft trains all weights; lora trains a low-rank adapter.")
    data: Path = Field(description="JSONL file of chats. A relative path starts at the recipe's folder.")
    held_out: float = Field(
        0.1, gt=0, le=0.5, description="Share of the chats that the run does not train on, but measures its loss with."
    )
    steps: Annotated[int | None, Field(ge=1, le=10_000_000, description="Steps of the run.")] = None
    epochs: Annotated[float | None, Field(gt=0, le=1000, description="Passes over the training chats.")] = None
    learning_rate: float = Field(gt=0, le=1, description="Learning rate of the optimizer at its highest.")
    batch: int = Field(4, ge=1, le=4096, description="Chats in a step.")
    max_length: int = Field(1024, ge=8, le=1_048_576, description="Tokens of a chat; longer chats are cut at the end.")
    lora: Lora | None = Field(None, description="Shape of the adapter; only with method lora.")
    seed: int = Field(0, ge=0, le=2**31 - 1, description="Seed of everything that is random in the run.")
    save_every: int = Field(50, ge=1, description="Steps between two checkpoints.")
    dtype: Literal["float32", "bfloat16"] = Field("float32", description="Precision that the run computes in.")
    gate: Gate = Field(Gate(), description="What the result must be like to be published.")
    publish: Publish | None = Field(None, description="Where to publish the result. Default: nowhere.")

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
        """`base`, parsed."""
        return Reference.parse(self.base)

    @property
    def lora_shape(self) -> Lora:
        """`lora`, or its defaults."""
        return self.lora or Lora()


def load(file: Path) -> Recipe:
    """Reads a recipe; its `data` becomes an absolute path.

    Raises:
        WrongSettings: The file cannot be read or a value is wrong; the message names file, key and value.
    """
    try:
        document = yaml.safe_load(file.read_text())
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise WrongSettings(f"{file}: {error}") from None
    recipe = check(Recipe, document, lambda key: f"{file}: {key}")
    return recipe.model_copy(update={"data": (file.parent / recipe.data).absolute()})
