"""The learning itself, on TRL's SFTTrainer: a base model and chats in, adapted weights out; resumes at a checkpoint.

A resumed run repeats the uninterrupted one exactly: optimizer, schedule, random state and place in the data come from
the checkpoint. Weights are read from safetensors; the rest transformers reads with torch's weights-only loader, which
builds tensors and plain values and nothing that runs. Nothing is read before its checksums have been compared
(checksums.py).
"""

import json
import shutil
from dataclasses import asdict
from pathlib import Path
from typing import Any

import datasets
import torch
from peft import LoraConfig
from transformers import AutoModelForCausalLM, AutoTokenizer, PrinterCallback, TrainerCallback, set_seed
from trl import SFTConfig, SFTTrainer

from trainer.chats import Split, WrongData
from trainer.checksums import latest, seal
from trainer.examples import Examples, Renderer
from trainer.loss_curve import Curve, finite
from trainer.recipe import Lora, Recipe
from trainer.record import Counts
from trainer.selection import is_tokenizer_file
from trainer.watcher import Watcher

CHECKPOINTS = "checkpoints"
KEPT_CHECKPOINTS = 2


class Fit:
    """One run in `folder`."""

    def __init__(self, recipe: Recipe, base: Path, split: Split, folder: Path, watcher: Watcher) -> None:
        """Raises BrokenSeal, and WrongData when `max_length` leaves nothing to learn or to measure."""
        datasets.disable_progress_bars()
        self._recipe, self._base = recipe, base
        self._resume = latest(folder / CHECKPOINTS)
        set_seed(recipe.seed)
        tokenizer = AutoTokenizer.from_pretrained(base, local_files_only=True)
        renderer = Renderer(tokenizer, recipe.max_length)
        learnt, held_out = renderer.examples(split.training), renderer.examples(split.held_out)
        self.counts = _counts(learnt, held_out)
        _check_examples(self.counts, recipe.max_length)
        curve = Curve(folder / "metrics.jsonl", self.resumed_at)
        self._trainer = SFTTrainer(
            model=_model(base, recipe),
            args=_arguments(recipe, folder / CHECKPOINTS),
            train_dataset=_dataset(learnt),
            eval_dataset=_dataset(held_out),
            processing_class=tokenizer,
            peft_config=_adapter(recipe.lora_shape) if recipe.method == "lora" else None,
            callbacks=[Reporter(curve, watcher), Sealer()],
        )
        self._trainer.remove_callback(PrinterCallback)

    @property
    def resumed_at(self) -> int:
        """Step of the checkpoint that the run goes on from; 0 at the beginning."""
        return self._resume[0] if self._resume else 0

    def held_out_loss(self) -> float:
        """Mean loss over the held-out chats, nats a token. Raises Diverged."""
        return finite(float(self._trainer.evaluate()["eval_loss"]), "the loss on held-out chats")

    def train(self) -> None:
        """Raises Diverged."""
        if self._resume is None:
            set_seed(self._recipe.seed)  # whatever was measured before has drawn random numbers
            self._trainer.train()
        elif _is_complete(self._resume[1]):
            _load_weights(self._trainer, self._resume[1])
        else:
            self._trainer.train(resume_from_checkpoint=str(self._resume[1]))

    def save_adapter(self, folder: Path, base: str) -> None:
        """`base` is written where PEFT would name a folder of this machine."""
        self._trainer.model.save_pretrained(_fresh(folder))
        (folder / "README.md").unlink(missing_ok=True)
        config = folder / "adapter_config.json"
        document = {**json.loads(config.read_text()), "base_model_name_or_path": base}
        config.write_text(json.dumps(document, indent=2))
        seal(folder)

    def save_merged(self, folder: Path) -> None:
        """A whole model in the base's precision, with the base's tokenizer byte for byte. Ends this run's use."""
        model = self._trainer.model
        whole = model.merge_and_unload() if self._recipe.method == "lora" else model
        whole.to(_dtype_of(self._base)).save_pretrained(_fresh(folder))
        for file in self._base.iterdir():
            if is_tokenizer_file(file.name):
                shutil.copyfile(file, folder / file.name)
        seal(folder)


class Reporter(TrainerCallback):  # type: ignore[misc]
    """Passes TRL's log lines on to the loss curve and the watcher."""

    def __init__(self, curve: Curve, watcher: Watcher) -> None:
        self._curve, self._watcher = curve, watcher

    def on_log(self, args: Any, state: Any, control: Any, logs: dict[str, Any] | None = None, **_: Any) -> None:
        """Called by TRL after each logged step."""
        if logs and "loss" in logs:
            figures: dict[str, Any] = {key: logs[key] for key in ("loss", "learning_rate", "grad_norm") if key in logs}
            self._curve.add({"step": state.global_step, **figures})
            self._watcher.step(state.global_step, state.max_steps, logs["loss"])


class Sealer(TrainerCallback):  # type: ignore[misc]
    """Seals each checkpoint, so that a torn one is never resumed from."""

    def on_save(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        """Called by TRL after a checkpoint was written."""
        seal(Path(args.output_dir) / f"checkpoint-{state.global_step}")


def _load_weights(trainer: SFTTrainer, checkpoint: Path) -> None:
    """Reads the weights of a finished run without training.

    `train` would make a step too many, and there is no public way. `train` itself loads weights by this method; the
    test of the runs names it and fails when transformers changes it.
    """
    trainer._load_from_checkpoint(str(checkpoint))


def _arguments(recipe: Recipe, folder: Path) -> SFTConfig:
    return SFTConfig(
        output_dir=str(folder),
        max_steps=recipe.steps or -1,
        num_train_epochs=recipe.epochs or 1.0,
        learning_rate=recipe.learning_rate,
        per_device_train_batch_size=recipe.batch,
        per_device_eval_batch_size=recipe.batch,
        max_length=recipe.max_length,
        seed=recipe.seed,
        save_strategy="steps",
        save_steps=recipe.save_every,
        save_total_limit=KEPT_CHECKPOINTS,
        logging_strategy="steps",
        logging_steps=1,
        logging_nan_inf_filter=False,  # it would log another number in place of NaN
        eval_strategy="no",
        gradient_checkpointing=False,
        bf16=False,  # that would be mixed precision; the recipe's dtype is the model's
        use_cpu=not torch.cuda.is_available(),
        dataloader_pin_memory=False,
        report_to="none",
        disable_tqdm=True,
    )


def _model(base: Path, recipe: Recipe) -> Any:
    return AutoModelForCausalLM.from_pretrained(base, dtype=getattr(torch, recipe.dtype), local_files_only=True)


def _adapter(lora: Lora) -> LoraConfig:
    targets = lora.targets if isinstance(lora.targets, str) else list(lora.targets)
    return LoraConfig(
        r=lora.r, lora_alpha=lora.alpha, lora_dropout=lora.dropout, target_modules=targets, task_type="CAUSAL_LM"
    )


def _counts(learnt: Examples, held_out: Examples) -> Counts:
    return Counts(
        learnt=len(learnt.kept),
        held_out=len(held_out.kept),
        cut=learnt.cut + held_out.cut,
        dropped=learnt.dropped + held_out.dropped,
    )


def _check_examples(counts: Counts, max_length: int) -> None:
    for name, kept in (("to learn", counts.learnt), ("held out", counts.held_out)):
        if kept == 0:
            raise WrongData(f"max_length = {max_length} cuts off the answers of all chats {name}")


def _dataset(examples: Examples) -> datasets.Dataset:
    """TRL takes tokens and labels as they are."""
    return datasets.Dataset.from_list([asdict(example) for example in examples.kept])


def _is_complete(checkpoint: Path) -> bool:
    state = json.loads((checkpoint / "trainer_state.json").read_text())
    return bool(state["global_step"] >= state["max_steps"])


def _dtype_of(base: Path) -> torch.dtype:
    config = json.loads((base / "config.json").read_text())
    name = config.get("dtype") or config.get("torch_dtype") or "float32"
    return getattr(torch, name)


def _fresh(folder: Path) -> Path:
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    return folder
