"""Recipes of the methods that learn from data."""

from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from trainer.recipe import Data, Recipe, Strict

COSINE_FLOOR = 0.1
"""What `min_lr_ratio` is where nobody says it."""

_IN_4_BITS = ("sft", "dpo", "kto", "distill")
"""Methods for which the base may be held in 4 bits."""


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


class Spikes(Strict):
    """What is done when a loss or a gradient is far from usual: back to the last checkpoint, without that batch."""

    skips: int = Field(3, ge=0, le=1000, description="Most batches that a run skips. 0: none, and nothing is watched.")
    factor: float = Field(
        20.0,
        ge=3,
        le=1e6,
        description="Robust standard deviations above the median that make a spike. One is 1.4826 median absolute"
        " deviations, and at least a tenth of the median, 0.05 of a loss and 0.1 of a gradient's norm.",
    )
    window: int = Field(100, ge=20, le=10_000, description="Steps that say what is usual.")


class Parallel(Strict):
    """How several processes learn together. How many there are, says who starts the run."""

    strategy: Literal["ddp"] = Field("ddp", description="ddp: each process holds the whole model.")


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
    load_in_4bit: bool = Field(
        False,
        description="Hold the base in 4 bits while the adapter learns (QLoRA). Needs a GPU, bitsandbytes and dtype:"
        " bfloat16.",
    )
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
    parallel: Parallel | None = Field(
        None,
        exclude_if=lambda parallel: parallel is None,
        description="How several processes learn together (tidegate train run --processes). Default: ddp.",
    )
    spikes: Spikes = Field(
        Spikes(), description="Spikes of the loss or the gradient: back to the last checkpoint, and that batch skipped."
    )
    save_every: int = Field(50, ge=1, description="Steps between two checkpoints.")
    eval_every: int | None = Field(
        None, ge=1, description="Steps between two measurements of the held-out loss. Default: before and after only."
    )
    report_to: tuple[Literal["tensorboard", "mlflow", "wandb"], ...] = Field(
        (),
        max_length=3,
        exclude_if=lambda names: not names,
        description="Where curves are sent besides the run's folder; each needs its package and its own environment"
        " (MLFLOW_TRACKING_URI, WANDB_API_KEY).",
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
    def _has_what_learns_in_4_bits(self) -> Self:
        if not self.load_in_4bit:
            return self
        if self.adapter is None:
            raise ValueError("load_in_4bit is true, and weights of 4 bits cannot learn: set adapter, which learns then")
        if self.method not in _IN_4_BITS:
            raise ValueError(f"load_in_4bit is for method: {', '.join(_IN_4_BITS)}, and that is {self.method}")
        if self.dtype != "bfloat16":
            raise ValueError(f"load_in_4bit is true, which computes in bfloat16, and dtype is {self.dtype}: set that")
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


class KtoRecipe(LearningRecipe):
    """Kahneman-Tversky optimization: the model learns to give good answers more often, and bad ones less."""

    method: Literal["kto"] = Field(description="How the model learns.")
    batch: int = Field(4, ge=2, le=4096, description="Examples that are computed together.")
    loss: Literal["kto", "apo_zero_unpaired"] = Field(
        "kto", description="Loss, as TRL names it (loss_type); kto is that of KTO's own paper."
    )
    beta: float = Field(0.1, gt=0, le=100, description="How much a departure from the base costs.")
    desirable_weight: float = Field(1.0, gt=0, le=1000, description="How much a good answer counts.")
    undesirable_weight: float = Field(1.0, gt=0, le=1000, description="How much a bad answer counts.")

    @model_validator(mode="after")
    def _compares_without_dropout(self) -> Self:
        if self.adapter and self.adapter.dropout:
            raise ValueError("adapter.dropout is set, and KTO compares with the base without dropout: leave it out")
        return self


class RewardRecipe(LearningRecipe):
    """A reward model: the base learns to give the chosen answer of a pair a higher number than the rejected one."""

    method: Literal["reward"] = Field(description="How the model learns.")
    center_rewards_coefficient: float | None = Field(
        None,
        gt=0,
        le=100,
        description="How much it costs that the numbers of a pair do not add up to 0; 0.01 keeps them near it."
        " Default: nothing.",
    )

    @model_validator(mode="after")
    def _makes_what_gives_numbers(self) -> Self:
        if self.adapter and self.adapter.dropout:
            raise ValueError("adapter.dropout is set, and TRL trains reward models without dropout: leave it out")
        if self.publish and self.publish.adapter:
            raise ValueError("publish.adapter is true, and no engine here serves a reward model as an adapter")
        if self.publish and self.publish.rollout:
            raise ValueError(
                "publish.rollout is true, and a reward model gives numbers and no text: no pool of this version serves"
                " it. Leave rollout out"
            )
        return self
