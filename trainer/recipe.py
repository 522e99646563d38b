"""A recipe: everything that a training run needs to know. Here is what all methods have in common."""

from typing import Annotated, Self

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, model_validator

from services.shared.config import Name
from services.shared.registry import CANDIDATE, MOVED_BY_ROLLOUT, Reference
from trainer.data.address import Address as Address
from trainer.data.address import Data as Data
from trainer.data.forms.form import Form
from trainer.evaluation_plan import Evaluation

ADAPTER_SUFFIX = "-adapter"


def _reference(text: str) -> str:
    Reference.parse(text)
    return text


ModelReference = Annotated[str, AfterValidator(_reference)]
"""Names a version in the registry."""


class Strict(BaseModel):
    """A part of a recipe. Unknown keys are refused."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class Gate(Strict):
    """What a result must be like to be published by itself."""

    max_loss_increase: float = Field(
        0.0,
        ge=-100,
        le=100,
        description="Most that the held-out loss may be above the base's, in nats a token; below 0: least that it must"
        " be below.",
    )
    max_loss: float | None = Field(
        None,
        ge=0,
        le=100,
        exclude_if=lambda loss: loss is None,
        description="Most that the held-out loss may be, in nats a token: the only bound of a model without a base.",
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
    rollout: bool = Field(
        False,
        description="Bring the pool called `name` to the merged model, and move the alias that it follows when the"
        " rollout is done.",
    )
    rollout_limit_s: float = Field(
        3600.0, gt=0, description="Seconds that the run waits for the rollout to end; the rollout goes on after them."
    )

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
    """What every run needs to know."""

    base: ModelReference | None = Field(
        description="Registry reference of the base model: model, model@alias or model@version."
    )
    method: str = Field(description="How the model is made.")
    data: Data | None = Field(
        None,
        description="Data to measure the loss with, before and after, for the gate: file or folder, or"
        " s3://bucket/prefix. Default: nothing is measured.",
    )
    format: Form | None = Field(
        None,
        exclude_if=lambda form: form is None,
        description="Form of the data: messages, sharegpt, alpaca, completion, judged, preference or text. Default:"
        " found out, for each file.",
    )
    max_length: int = Field(
        1024, ge=8, le=1_048_576, description="Tokens of an example; longer ones are cut at the end."
    )
    seed: int = Field(0, ge=0, le=2**31 - 1, description="Seed of everything that is random in the run.")
    evaluate: Evaluation | None = Field(
        None, description="How the result is evaluated, and what it must reach. Default: it is not."
    )
    gate: Gate = Field(Gate(), description="What the result must be like to be published.")
    publish: Publish | None = Field(None, description="Where to publish the result. Default: nowhere.")

    @model_validator(mode="after")
    def _begins_somewhere(self) -> Self:
        if self.base is None:
            raise ValueError("base is not set: it names the model that the run begins with")
        return self

    @model_validator(mode="after")
    def _serves_what_is_checked(self) -> Self:
        if self.evaluate and self.evaluate.served and not (self.publish and self.publish.rollout):
            raise ValueError("evaluate.served asks the served candidate: set publish.rollout: true, or leave it out")
        return self

    @property
    def reference(self) -> Reference:
        """`base`, parsed. Only pretraining can begin without one."""
        if self.base is None:
            raise AssertionError("a recipe without a base begins with a new model")
        return Reference.parse(self.base)
