"""The learning itself, whatever the method: a base model and data in, adapted weights out; resumes at a checkpoint.

A resumed run repeats the uninterrupted one exactly: optimizer, schedule, random state and place in the data come from
the checkpoint. Weights are read from safetensors; the rest transformers reads with torch's weights-only loader, which
builds tensors and plain values and nothing that runs. Nothing is read before its checksums have been compared
(checksums.py).
"""

import json
import os
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import datasets
import torch
from peft import PeftModel
from transformers import EarlyStoppingCallback, PrinterCallback, Trainer, TrainerCallback, set_seed

from services.shared.clock import SystemClock
from trainer.checksums import BrokenSeal, is_sealed, latest, seal
from trainer.data.corpus import Corpus
from trainer.data.sample import Text
from trainer.data.split import Split
from trainer.data.wrong import WrongData
from trainer.devices import VISIBLE, first_device
from trainer.examples import Renderer
from trainer.learning_recipe import LearningRecipe, RewardRecipe
from trainer.loss_curve import Curve, finite
from trainer.methods.arguments import LOSS, arguments
from trainer.methods.base_model import dtype_of, lora_config, model_of, tokenizer_of
from trainer.methods.meter import Meter
from trainer.methods.pick import pick
from trainer.methods.preflight import padding
from trainer.record import Counts
from trainer.selection import is_tokenizer_file
from trainer.watcher import Watcher

CHECKPOINTS = "checkpoints"
_GENERATION = "generation_config.json"
_TOKENS = ("pad_token_id", "bos_token_id", "eos_token_id", "use_cache")
"""Settings of a model that the library's trainer changes: tokens as the tokenizer has them, and no cache."""


class Fit:
    """One run in `folder`."""

    def __init__(
        self, recipe: LearningRecipe, base: Path, split: Split | Corpus, folder: Path, watcher: Watcher
    ) -> None:
        """Raises BrokenSeal, Unfit, and WrongData when `max_length` leaves nothing to learn or to measure."""
        datasets.disable_progress_bars()
        _take_one_device(watcher)
        self._recipe, self._base = recipe, base
        self._resume = latest(folder / CHECKPOINTS)
        set_seed(recipe.seed)
        tokenizer = tokenizer_of(recipe, base, for_chats=_holds_chats(split))
        tokenizer.pad_token, note = padding(tokenizer)
        if note:
            watcher.note(note)
        method = pick(recipe)
        self._figures: Mapping[str, str] = method.FIGURES
        material = method.material(recipe, Renderer(tokenizer, recipe.max_length), split)
        self.counts: Counts = material.counts
        _check_counts(self.counts, recipe.max_length)
        model = model_of(recipe, base, in_4_bits=recipe.load_in_4bit)
        is_scorer = isinstance(recipe, RewardRecipe)
        if is_scorer:
            # A reward is that of the last token that is no padding, so the result must know its padding token.
            model.config.get_text_config().pad_token_id = tokenizer.pad_token_id
        configs = (model.config, model.config.get_text_config())
        self._tokens = [(one, name, getattr(one, name)) for one in configs for name in _TOKENS if hasattr(one, name)]
        curve = Curve(folder / "metrics.jsonl", self.resumed_at)
        self._trainer: Trainer = method.trainer(
            recipe,
            arguments(recipe, folder / CHECKPOINTS, cpu=not torch.cuda.is_available()),
            model=model,
            train_dataset=material.learnt,
            eval_dataset=material.held_out,
            processing_class=tokenizer,
            peft_config=lora_config(recipe.adapter, scores=is_scorer) if recipe.adapter else None,
            callbacks=[Reporter(curve, watcher), Sealer(), Meter(folder, SystemClock()), *_stopping(recipe)],
        )
        self._trainer.remove_callback(PrinterCallback)
        if recipe.load_in_4bit:
            _learn_in_float32(self._trainer.model)

    @property
    def resumed_at(self) -> int:
        """Step of the checkpoint that the run goes on from; 0 at the beginning."""
        return self._resume[0] if self._resume else 0

    def measure(self) -> tuple[float, dict[str, float]]:
        """Mean loss over the held-out data, and what else the method measures. Raises Diverged."""
        found = self._trainer.evaluate()
        figures = {name: float(found[key]) for name, key in self._figures.items()}
        return finite(float(found[LOSS]), "the loss on held-out data"), figures

    def train(self) -> None:
        """Raises Diverged, BrokenSeal."""
        if self._resume is None:
            set_seed(self._recipe.seed)  # whatever was measured before has drawn random numbers
            self._trainer.train()
            return
        checkpoint = self._resume[1]
        state = json.loads((checkpoint / "trainer_state.json").read_text())
        best = _best(state, checkpoint) if self._recipe.early_stopping_patience else checkpoint
        if _is_complete(state):
            _load_weights(self._trainer, best)
        else:
            self._trainer.train(resume_from_checkpoint=str(checkpoint))

    def save_adapter(self, folder: Path, base: str) -> None:
        """`base` is written where PEFT would name a folder of this machine."""
        self._trainer.model.save_pretrained(_fresh(folder))
        (folder / "README.md").unlink(missing_ok=True)
        config = folder / "adapter_config.json"
        document = {**json.loads(config.read_text()), "base_model_name_or_path": base}
        config.write_text(json.dumps(document, indent=2))
        seal(folder)

    def save_merged(self, folder: Path, adapter: Path) -> None:
        """A whole model in the base's precision. Ends this run's use. `adapter`: where that is saved, if there is one.

        Tokenizer and generation settings are the base's, byte for byte: the run changes neither.
        """
        whole = self._whole(adapter)
        for config, name, token in self._tokens:
            setattr(config, name, token)
        whole.to(dtype_of(self._base)).save_pretrained(_fresh(folder))
        (folder / _GENERATION).unlink(missing_ok=True)
        for file in self._base.iterdir():
            if is_tokenizer_file(file.name) or file.name == _GENERATION:
                shutil.copyfile(file, folder / file.name)
        seal(folder)

    def _whole(self, adapter: Path) -> Any:
        """The model that was learnt."""
        model = self._trainer.model
        if not self._recipe.adapter:
            return model
        if not self._recipe.load_in_4bit:
            return model.merge_and_unload()
        # Merged into weights of 4 bits, most of the adapter would be rounded away: it goes onto the base as it is.
        return PeftModel.from_pretrained(model_of(self._recipe, self._base), str(adapter)).merge_and_unload()


class Reporter(TrainerCallback):  # type: ignore[misc]
    """Passes the trainer's log lines on to the loss curve and the watcher."""

    def __init__(self, curve: Curve, watcher: Watcher) -> None:
        self._curve, self._watcher = curve, watcher
        self._trains = False

    def on_train_begin(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        """Called before the first step. What is measured before and after training belongs to no step."""
        self._trains = True

    def on_train_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        """Called after the last step."""
        self._trains = False

    def on_log(self, args: Any, state: Any, control: Any, logs: dict[str, Any] | None = None, **_: Any) -> None:
        """Called after each logged step, and after each measurement."""
        if logs and "loss" in logs:
            figures: dict[str, Any] = {key: logs[key] for key in ("loss", "learning_rate", "grad_norm") if key in logs}
            self._curve.add({"step": state.global_step, **figures})
            self._watcher.step(state.global_step, state.max_steps, logs["loss"])
        elif logs and LOSS in logs and self._trains:
            self._curve.measured(state.global_step, logs[LOSS])


class Sealer(TrainerCallback):  # type: ignore[misc]
    """Seals each checkpoint, so that a torn one is never resumed from."""

    def on_save(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        """Called by TRL after a checkpoint was written."""
        seal(Path(args.output_dir) / f"checkpoint-{state.global_step}")


def _learn_in_float32(model: Any) -> None:
    """TRL makes an adapter on 4 bits bfloat16, which rounds small updates away, and is read back as float32."""
    for weights in model.parameters():
        if weights.requires_grad:
            weights.data = weights.data.float()


def _take_one_device(watcher: Watcher) -> None:
    """Before anything is computed: CUDA looks at the environment only once."""
    device = first_device(os.environ, torch.cuda.device_count())
    if device is not None:
        os.environ[VISIBLE] = device
        watcher.note(f"this machine has several GPUs, and a run takes one: {VISIBLE}={device}")


def _holds_chats(split: Split | Corpus) -> bool:
    if isinstance(split, Corpus):
        return False
    return not all(isinstance(sample, Text) for sample in (*split.training, *split.held_out))


def _stopping(recipe: LearningRecipe) -> list[TrainerCallback]:
    patience = recipe.early_stopping_patience
    return [EarlyStoppingCallback(early_stopping_patience=patience)] if patience else []


def _load_weights(trainer: Trainer, checkpoint: Path) -> None:
    """Reads the weights of a finished run without training.

    `train` would make a step too many, and there is no public way. `train` itself loads weights by this method; the
    test of the runs names it and fails when transformers changes it.
    """
    trainer._load_from_checkpoint(str(checkpoint))


def _check_counts(counts: Counts, max_length: int) -> None:
    for name, kept in (("to learn", counts.learnt), ("held out", counts.held_out)):
        if kept == 0:
            raise WrongData(f"max_length = {max_length} cuts off the answers of all examples {name}")


def _is_complete(state: dict[str, Any]) -> bool:
    """Whether the checkpoint with this state was the run's last."""
    stopping = state["stateful_callbacks"].get("EarlyStoppingCallback")
    if stopping:
        patience, waited = stopping["args"]["early_stopping_patience"], stopping["attributes"]
        if waited["early_stopping_patience_counter"] >= patience:
            return True
    return bool(state["global_step"] >= state["max_steps"])


def _best(state: dict[str, Any], checkpoint: Path) -> Path:
    """The checkpoint with the best held-out loss so far. Raises BrokenSeal."""
    best = Path(state["best_model_checkpoint"])
    if best.parent != checkpoint.parent or not is_sealed(best):
        raise BrokenSeal(f"{checkpoint.name}: its best checkpoint, {best}, is not there whole. Start anew elsewhere")
    return best


def _fresh(folder: Path) -> Path:
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    return folder
