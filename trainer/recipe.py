"""A recipe: everything that a training run needs to know, in one validated YAML file."""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import Annotated, Any, Literal, Self

import yaml
from pydantic import AfterValidator, BaseModel, ConfigDict, Field, model_validator

from services.shared.config import Name
from services.shared.registry import CANDIDATE, MOVED_BY_ROLLOUT, Reference
from services.shared.settings import WrongSettings, check
from trainer.data.forms.form import Form

ADAPTER_SUFFIX = "-adapter"
COSINE_FLOOR = 0.1
"""What `min_lr_ratio` is where nobody says it."""

Address = Annotated[str, Field(pattern=r"^s3://")]
"""Where data lies in a bucket."""


def _reference(text: str) -> str:
    Reference.parse(text)
    return text


class Strict(BaseModel):
    """A part of a recipe. Unknown keys are refused."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class Adapter(Strict):
    """Low-rank adaptation (Hu et al., 2021): W + scale * B A, where only A and B are trained; scale is alpha / r."""

    r: int = Field(16, ge=1, le=512, description="Rank of the adapter.")
    alpha: int = Field(32, ge=1, description="Scale of the adapter: its output is multiplied by alpha / r.")
    dropout: float = Field(0.0, ge=0, lt=1, description="Share of the adapter's inputs that is dropped in training.")
    dora: bool = Field(
        False, description="Learn lengths and directions of weights apart (DoRA). Engines serve the merged model only."
    )
    rslora: bool = Field(False, description="Multiply by alpha / sqrt(r) in place of alpha / r (rsLoRA).")
    targets: Literal["all-linear"] | Annotated[tuple[str, ...], Field(min_length=1)] = Field(
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


Data = Annotated[Address | Path, Field(union_mode="left_to_right")]
"""Where data lies. A relative path starts at the recipe's folder."""


class Recipe(Strict):
    """What every run needs to know."""

    base: Annotated[str, AfterValidator(_reference)] = Field(
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
        description="Form of the data: messages, sharegpt, alpaca, completion, preference or text. Default: found out,"
        " for each file.",
    )
    max_length: int = Field(
        1024, ge=8, le=1_048_576, description="Tokens of an example; longer ones are cut at the end."
    )
    seed: int = Field(0, ge=0, le=2**31 - 1, description="Seed of everything that is random in the run.")
    gate: Gate = Field(Gate(), description="What the result must be like to be published.")
    publish: Publish | None = Field(None, description="Where to publish the result. Default: nowhere.")

    @property
    def reference(self) -> Reference:
        """`base`, parsed."""
        return Reference.parse(self.base)


class LearningRecipe(Recipe):
    """What every run that learns needs to know. Exactly one of `steps` and `epochs` sets its length."""

    data: Data = Field(
        description="File or folder of data, or s3://bucket/prefix. A relative path starts at the recipe's folder."
    )
    held_out: float = Field(
        0.1,
        gt=0,
        le=0.5,
        description="Share of the samples that a run does not train on, but measures its loss with.",
    )
    steps: int | None = Field(None, ge=1, le=10_000_000, description="Steps of the run.")
    epochs: float | None = Field(None, gt=0, le=1000, description="Passes over the training data.")
    learning_rate: float = Field(gt=0, le=1, description="Learning rate of the optimizer at its highest.")
    batch: int = Field(4, ge=1, le=4096, description="Examples that are computed together.")
    gradient_accumulation_steps: int = Field(
        1, ge=1, le=65_536, description="Batches whose gradients make one step together."
    )
    adapter: Adapter | None = Field(None, description="Learn a LoRA of this shape. Default: all weights learn.")
    optim: Literal["adamw_torch_fused", "adamw_torch", "adafactor", "sgd"] = Field(
        "adamw_torch_fused", description="Optimizer, as transformers names it."
    )
    weight_decay: float = Field(0.0, ge=0, le=1, description="Weight decay of AdamW.")
    adam_beta1: float = Field(0.9, ge=0, lt=1, description="First beta of AdamW.")
    adam_beta2: float = Field(0.999, ge=0, lt=1, description="Second beta of AdamW.")
    adam_epsilon: float = Field(1e-8, gt=0, le=1, description="Epsilon of AdamW.")
    max_grad_norm: float = Field(1.0, ge=0, description="Gradients of a larger norm are clipped; 0: they are not.")
    lr_scheduler_type: Literal["linear", "cosine", "constant"] = Field(
        "linear", description="How the learning rate falls: to 0, by a cosine to min_lr_ratio of it, or not at all."
    )
    min_lr_ratio: float | None = Field(
        None, ge=0, lt=1, description="Share of the learning rate that the cosine ends with. Default: 0.1."
    )
    warmup_steps: int = Field(0, ge=0, description="Steps in which the learning rate rises from 0.")
    warmup_ratio: float = Field(0.0, ge=0, lt=1, description="The same as a share of all steps; one of both.")
    gradient_checkpointing: bool = Field(
        False, description="Compute activations again in the backward pass: less memory, more time."
    )
    dtype: Literal["float32", "bfloat16"] = Field(
        "float32", description="Precision of the computation. Weights learn in float32 (bfloat16: mixed precision)."
    )
    save_every: int = Field(50, ge=1, description="Steps between two checkpoints.")
    eval_every: int | None = Field(
        None, ge=1, description="Steps between two measurements of the held-out loss. Default: before and after only."
    )
    early_stopping_patience: int | None = Field(
        None,
        ge=1,
        description="Stop after so many measurements in a row without a better held-out loss; the best checkpoint is"
        " the result.",
    )

    @model_validator(mode="after")
    def _is_whole(self) -> Self:
        if (self.steps is None) == (self.epochs is None):
            raise ValueError("one of steps and epochs says how long to train")
        if self.warmup_steps and self.warmup_ratio:
            raise ValueError("one of warmup_steps and warmup_ratio says how long to warm up")
        if self.min_lr_ratio is not None and self.lr_scheduler_type != "cosine":
            raise ValueError(f"min_lr_ratio is for lr_scheduler_type: cosine, and that is {self.lr_scheduler_type}")
        if self.early_stopping_patience and self.eval_every is None:
            raise ValueError("early_stopping_patience needs eval_every")
        if self.early_stopping_patience and self.save_every != self.eval_every:
            raise ValueError(
                f"early_stopping_patience needs a checkpoint at each measurement: set save_every = {self.eval_every}"
            )
        return self

    @model_validator(mode="after")
    def _publishes_what_it_makes(self) -> Self:
        if self.publish and self.publish.adapter and self.adapter is None:
            raise ValueError("publish.adapter is true, but without adapter all weights learn, and none is made")
        if self.publish and self.publish.adapter and self.adapter and self.adapter.dora:
            raise ValueError("publish.adapter is true, and engines apply no DoRA: publish the merged model alone")
        return self


class SftRecipe(LearningRecipe):
    """Supervised fine-tuning: the model learns the answers of conversations, or texts."""

    method: Literal["sft"] = Field(description="How the model learns.")
    packing: bool = Field(
        False, description="Put several examples into one row of max_length tokens; they do not see each other."
    )


class DpoRecipe(LearningRecipe):
    """Direct preference optimization: the model learns to prefer the chosen answer of a pair to the rejected one."""

    method: Literal["dpo"] = Field(description="How the model learns.")
    loss: Literal["sigmoid", "sigmoid_norm", "hinge", "ipo", "robust", "apo_zero", "apo_down"] = Field(
        "sigmoid", description="Loss, as TRL names it (loss_type); sigmoid is that of DPO's own paper."
    )
    beta: float = Field(
        0.1, gt=0, le=100, description="How much a departure from the base costs (for ipo: tau of its paper)."
    )
    label_smoothing: float = Field(
        0.0, ge=0, lt=0.5, description="Share of pairs that are taken to be the wrong way round; only for loss: robust."
    )

    @model_validator(mode="after")
    def _fits_its_loss(self) -> Self:
        if self.label_smoothing and self.loss != "robust":
            raise ValueError(f"label_smoothing is for loss: robust, and that is {self.loss}")
        if self.adapter and self.adapter.dropout:
            raise ValueError("adapter.dropout is set, and DPO compares with the base without dropout: leave it out")
        return self


class MergedModel(Strict):
    """A model of a merge."""

    model: Annotated[str, AfterValidator(_reference)] = Field(
        description="Registry reference: model, model@alias or model@version."
    )
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
    """Quantizing: the matrices of a model are rounded to nearest, for less memory and more speed."""

    method: Literal["quantize"] = Field(description="How the model is made.")
    precision: Literal["int8", "int4", "fp8"] = Field(
        "int8", description="int8: weights and activations in 8 bits; int4: weights alone; fp8: both in E4M3."
    )
    gate: RoundingGate = Field(RoundingGate(), description="What the result must be like to be published.")

    @model_validator(mode="after")
    def _publishes_what_it_makes(self) -> Self:
        if self.publish and self.publish.adapter:
            raise ValueError("publish.adapter is true, and quantizing makes no adapter")
        return self


METHODS: Mapping[str, type[Recipe]] = MappingProxyType(
    {"sft": SftRecipe, "dpo": DpoRecipe, "merge": MergeRecipe, "quantize": QuantizeRecipe}
)


def parse(document: Any, name_of: Callable[[str], str] = str) -> Recipe:
    """Validates the content of a recipe.

    Args:
        document: The content.
        name_of: What a key is called in messages.

    Raises:
        WrongSettings: A key or value is wrong; the message names it.
    """
    if not isinstance(document, dict):
        return check(Recipe, document, name_of)
    current = _current(document)
    method = current.get("method")
    if not (isinstance(method, str) and method in METHODS):
        given = f" = {method!r}: it is" if "method" in current else " is not set:"
        raise WrongSettings(f"{name_of('method')}{given} one of {', '.join(METHODS)}")
    return check(METHODS[method], current, name_of)


def load(file: Path, changes: Sequence[str] = ()) -> Recipe:
    """Reads a recipe; its `data` becomes an absolute path, unless it lies in a bucket.

    Args:
        file: YAML.
        changes: KEY=VALUE each, which count in place of what the file says; a key may be one of a part: adapter.r=8.

    Raises:
        WrongSettings: The file cannot be read or a value is wrong; the message names file, key and value.
    """
    try:
        document = yaml.safe_load(file.read_text())
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise WrongSettings(f"{file}: {error}") from None
    for change in changes:
        document = _changed(document, change)
    recipe = parse(document, lambda key: f"{file}: {key}")
    if not isinstance(recipe.data, Path):
        return recipe  # a bucket, or nothing
    return recipe.model_copy(update={"data": (file.parent / recipe.data).absolute()})


def _changed(document: Any, change: str) -> dict[str, Any]:
    key, equals, value = change.partition("=")
    first, *rest = key.split(".")
    if not equals or not all((first, *rest)):
        raise WrongSettings(f"--set {change}: write KEY=VALUE, such as learning_rate=0.001 or adapter.r=8")
    try:
        new: Any = yaml.safe_load(value)
    except yaml.YAMLError as error:
        raise WrongSettings(f"--set {change}: {error}") from None
    for part in reversed(rest):
        new = {part: new}
    return _merged(document if isinstance(document, dict) else {}, {first: new}, len(rest))


def _merged(old: dict[str, Any], new: dict[str, Any], depth: int) -> dict[str, Any]:
    """`new` within `old`; below `depth` parts it takes the place of what was there."""
    key, value = next(iter(new.items()))
    if depth:
        inner = old.get(key)
        value = _merged(inner if isinstance(inner, dict) else {}, value, depth - 1)
    return {**old, key: value}


def _current(document: dict[str, Any]) -> dict[str, Any]:
    """Recipes of older releases as they are now: LoRA was a method, and its shape was called lora."""
    current = dict(document)
    if current.get("method") == "lora" and "adapter" not in current:
        current |= {"method": "sft", "adapter": current.pop("lora", None) or {}}
    if "lora" in current and current["lora"] is None:
        del current["lora"]
    return current
