"""Recipes of the methods that make a model of others without learning."""

from typing import Literal, Self

from pydantic import Field, model_validator

from services.shared.registry import Reference
from trainer.recipe import Gate, ModelReference, Recipe, Strict


class MergedModel(Strict):
    """A model of a merge."""

    model: ModelReference = Field(description="Registry reference: model, model@alias or model@version.")
    weight: float = Field(1.0, gt=0, le=100, description="How much it counts beside the others.")


class MergeRecipe(Recipe):
    """Merging: the weights of several models become one model, tensor by tensor. Nothing is learnt."""

    method: Literal["merge"] = Field(description="How the model is made.")
    merge_method: Literal["linear", "slerp", "ties", "dare_linear", "dare_ties"] = Field(
        description="linear: weighted mean of the models. slerp: on the arc from the base to the one model. The others"
        " add up what the models changed in the base."
    )
    models: tuple[MergedModel, ...] = Field(
        min_length=1, max_length=16, description="What is merged. The base counts in a mean only if it is named here."
    )
    t: float | None = Field(
        None, ge=0, le=1, description="Place on the arc, for slerp: 0 is the base, 1 the model. Default: 0.5."
    )
    density: float | None = Field(
        None,
        gt=0,
        le=1,
        description="Share of a model's changes that is kept, for ties (the largest) and dare_* (at random)."
        " Default: 0.5.",
    )

    @model_validator(mode="after")
    def _fits_its_method(self) -> Self:
        kind, count = self.merge_method, len(self.models)
        if kind == "linear" and count < 2:
            raise ValueError(f"models: linear takes at least 2, and {count} is given; the base can be one of them")
        if kind == "slerp" and count != 1:
            raise ValueError(f"models: slerp goes from base to 1 model, and {count} are given")
        if kind == "slerp" and self.models[0].weight != 1:
            raise ValueError("models: slerp takes no weight: t says how near the result is to the model")
        if self.t is not None and kind != "slerp":
            raise ValueError(f"t is for merge_method: slerp, and that is {kind}")
        if self.density is not None and kind in ("linear", "slerp"):
            raise ValueError(f"density is for merge_method: ties, dare_linear and dare_ties, and that is {kind}")
        names = [str(Reference.parse(part.model)) for part in self.models]
        if twice := sorted({name for name in names if names.count(name) > 1}):
            raise ValueError(f"models: {twice[0]} is there twice: give it one larger weight")
        if self.publish and self.publish.adapter:
            raise ValueError("publish.adapter is true, and a merge makes no adapter")
        return self


class RoundingGate(Gate):
    """What quantized weights must be like to be published by themselves."""

    max_loss_increase: float = Field(
        0.05,
        ge=-100,
        le=100,
        description="Most that the held-out loss may be above the base's, in nats a token: rounding always costs a"
        " little.",
    )


class QuantizeRecipe(Recipe):
    """Quantizing: the matrices of a model are rounded, for less memory and more speed."""

    method: Literal["quantize"] = Field(description="How the model is made.")
    precision: Literal["int8", "int4", "fp8"] = Field(
        "int8", description="int8: weights and activations in 8 bits; int4: weights alone; fp8: both in E4M3."
    )
    algorithm: Literal["rtn", "gptq"] = Field(
        "rtn",
        description="rtn: to nearest, without data. gptq: int4 that keeps what the layers make of the data, by"
        " llm-compressor in an environment of its own (TIDEGATE_LLM_COMPRESSOR).",
    )
    calibration_samples: int = Field(
        256, ge=1, le=65_536, description="Most examples that gptq looks at. They do not measure the loss."
    )
    held_out: float = Field(
        0.2, gt=0, lt=1, description="Share of the samples that gptq does not look at, and that measure the loss."
    )
    gate: RoundingGate = Field(RoundingGate(), description="What the result must be like to be published.")

    @model_validator(mode="after")
    def _gptq_has_what_it_needs(self) -> Self:
        if self.algorithm != "gptq":
            return self
        if self.precision != "int4":
            raise ValueError(f"algorithm: gptq makes precision: int4, and that is {self.precision}")
        if self.data is None:
            raise ValueError("algorithm: gptq needs data to look at: set data")
        return self

    @model_validator(mode="after")
    def _publishes_what_it_makes(self) -> Self:
        if self.publish and self.publish.adapter:
            raise ValueError("publish.adapter is true, and quantizing makes no adapter")
        return self
