"""A recipe in the words of transformers: what all methods have in common."""

from pathlib import Path
from typing import Any

from trainer.learning_recipe import COSINE_FLOOR, LearningRecipe

KEPT_CHECKPOINTS = 2
LOSS = "eval_loss"
"""What early stopping looks at."""


def arguments(recipe: LearningRecipe, folder: Path, *, cpu: bool, processes: int = 1) -> dict[str, Any]:
    """Keyword arguments of TrainingArguments, and so of all that TRL derives from it.

    Args:
        recipe: The run's.
        folder: For checkpoints.
        cpu: Whether to compute on the CPU though there may be a GPU.
        processes: That learn together; each learns its part of a batch.
    """
    return {
        "output_dir": str(folder),
        "max_steps": recipe.steps or -1,
        "num_train_epochs": recipe.epochs or 1.0,
        "learning_rate": recipe.learning_rate,
        "per_device_train_batch_size": recipe.batch // processes,
        "per_device_eval_batch_size": recipe.batch,
        "gradient_accumulation_steps": recipe.gradient_accumulation_steps,
        "max_length": recipe.max_length,
        "optim": recipe.optim,
        "weight_decay": recipe.weight_decay,
        "adam_beta1": recipe.adam_beta1,
        "adam_beta2": recipe.adam_beta2,
        "adam_epsilon": recipe.adam_epsilon,
        "max_grad_norm": recipe.max_grad_norm,
        **_schedule(recipe),
        "gradient_checkpointing": recipe.gradient_checkpointing,
        # Mixed precision: the weights stay in float32, where small updates are not rounded away.
        "bf16": recipe.dtype == "bfloat16",
        "seed": recipe.seed,
        "save_strategy": "steps",
        "save_steps": recipe.save_every,
        "save_total_limit": KEPT_CHECKPOINTS,
        **_evaluation(recipe),
        "logging_strategy": "steps",
        "logging_steps": 1,
        "logging_nan_inf_filter": False,  # it would log another number in place of NaN
        "use_cpu": cpu,
        "dataloader_pin_memory": False,
        "report_to": list(recipe.report_to) or "none",
        "disable_tqdm": True,
    }


def _schedule(recipe: LearningRecipe) -> dict[str, Any]:
    warmup = recipe.warmup_steps or recipe.warmup_ratio  # below 1 it is a share of all steps
    if recipe.lr_scheduler_type == "cosine":
        floor = {"min_lr_rate": COSINE_FLOOR if recipe.min_lr_ratio is None else recipe.min_lr_ratio}
        return {"lr_scheduler_type": "cosine_with_min_lr", "lr_scheduler_kwargs": floor, "warmup_steps": warmup}
    kind = "constant_with_warmup" if warmup and recipe.lr_scheduler_type == "constant" else recipe.lr_scheduler_type
    return {"lr_scheduler_type": kind, "warmup_steps": warmup}


def _evaluation(recipe: LearningRecipe) -> dict[str, Any]:
    if recipe.eval_every is None:
        return {"eval_strategy": "no"}
    measured = {"eval_strategy": "steps", "eval_steps": recipe.eval_every}
    if recipe.early_stopping_patience is None:
        return measured
    return {
        **measured,
        "load_best_model_at_end": True,
        "metric_for_best_model": LOSS,
        "greater_is_better": False,
        "restore_callback_states_from_checkpoint": True,
    }
