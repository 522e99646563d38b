"""The learning itself, whatever the method: a base model and data in, adapted weights out; resumes at a checkpoint.

A resumed run repeats the uninterrupted one exactly: optimizer, schedule, random state and place in the data come from
the checkpoint. Weights are read from safetensors; the rest transformers reads with torch's weights-only loader, which
builds tensors and plain values and nothing that runs. Nothing is read before its checksums have been compared
(checksums.py).
"""

import json
import os
import shutil
from collections.abc import Collection, Mapping
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
from trainer.learning_recipe import KtoRecipe, LearningRecipe, RewardRecipe
from trainer.loss_curve import Curve, finite, read
from trainer.methods.arguments import LOSS, arguments
from trainer.methods.base_model import dtype_of, lora_config, model_of, tokenizer_of
from trainer.methods.meter import Meter
from trainer.methods.ordered import Ordered, barrier
from trainer.methods.pick import pick
from trainer.methods.preflight import padding
from trainer.processes import ALONE, Processes
from trainer.record import CHECKPOINTS, Counts, Skip
from trainer.row_order import RowOrder
from trainer.selection import is_tokenizer_file
from trainer.spikes import Spike, SpikeWatch
from trainer.watcher import Watcher

_GENERATION = "generation_config.json"
_TOKENS = ("pad_token_id", "bos_token_id", "eos_token_id", "use_cache")
"""Settings of a model that the library's trainer changes: tokens as the tokenizer has them, and no cache."""


class Fit:
    """One run in `folder`."""

    def __init__(
        self,
        recipe: LearningRecipe,
        base: Path,
        split: Split | Corpus,
        folder: Path,
        watcher: Watcher,
        processes: Processes = ALONE,
        *,
        skipped: Collection[int] = (),
    ) -> None:
        """`skipped`: places in the order of rows, in steps.

        Raises BrokenSeal, Unfit, and WrongData when `max_length` leaves nothing to learn or to measure.
        """
        datasets.disable_progress_bars()
        if processes.count == 1:
            _take_one_device(watcher)
        self._recipe, self._base, self._processes = recipe, base, processes
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
        metrics = folder / "metrics.jsonl"
        before = [line for line in read(metrics) if line["step"] <= self.resumed_at]
        curve = Curve(metrics, self.resumed_at) if processes.writes else None
        spikes = recipe.spikes
        watches = spikes.skips and not isinstance(recipe, KtoRecipe)  # whose batches are TRL's
        self._reporter = Reporter(
            curve, watcher, SpikeWatch(spikes, before) if watches else None, left=spikes.skips - len(skipped)
        )
        self._trainer: Trainer = method.trainer(
            recipe,
            arguments(recipe, folder / CHECKPOINTS, cpu=not torch.cuda.is_available(), processes=processes.count),
            model=model,
            train_dataset=material.learnt,
            eval_dataset=material.held_out,
            processing_class=tokenizer,
            peft_config=lora_config(recipe.adapter, scores=is_scorer) if recipe.adapter else None,
            callbacks=[self._reporter, Sealer(processes), Meter(folder, SystemClock()), *_stopping(recipe)],
        )
        self._trainer.remove_callback(PrinterCallback)
        if recipe.load_in_4bit:
            _learn_in_float32(self._trainer.model)
        if isinstance(self._trainer, Ordered):
            self._take_order(frozenset(skipped), in_order=isinstance(split, Corpus))

    def _take_order(self, skipped: frozenset[int], *, in_order: bool) -> None:
        """How many packed rows there are is known only now, so the length of the run is too."""
        recipe, trainer = self._recipe, self._trainer
        a_step, rows = recipe.batch * recipe.gradient_accumulation_steps, len(trainer.train_dataset)
        trainer.order = RowOrder(rows, recipe.seed, a_step, skipped, in_order=in_order)
        if not in_order:
            trainer.args.max_steps = recipe.steps or trainer.order.steps(recipe.epochs or 1.0)

    @property
    def resumed_at(self) -> int:
        """Step of the checkpoint that the run goes on from; 0 at the beginning."""
        return self._resume[0] if self._resume else 0

    def measure(self) -> tuple[float, dict[str, float]]:
        """Mean loss over the held-out data, and what else the method measures. Raises Diverged."""
        found = self._trainer.evaluate()
        figures = {name: float(found[key]) for name, key in self._figures.items()}
        return finite(float(found[LOSS]), "the loss on held-out data"), figures

    def train(self) -> Skip | None:
        """Learns to the end of the run.

        Returns:
            A batch that made a spike. The run is to go on from its last checkpoint without it, by another Fit.

        Raises:
            Diverged, BrokenSeal
        """
        try:
            self._train()
        except Spiked as spiked:
            found = spiked.spike
            return Skip(step=found.step, place=self._trainer.order.place(found.step), reason=found.reason)
        return None

    def _train(self) -> None:
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
        if not self._processes.writes:
            return
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
        if not self._processes.writes:
            return
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


class Spiked(Exception):
    """A step is a spike, and its batch may be skipped."""

    def __init__(self, spike: Spike) -> None:
        super().__init__(spike.reason)
        self.spike = spike


class Reporter(TrainerCallback):  # type: ignore[misc]
    """Passes the trainer's log lines on to the loss curve and the watcher, and watches for spikes.

    A step is logged before a checkpoint is saved, so none ever holds what a spike did to the weights.
    """

    def __init__(self, curve: Curve | None, watcher: Watcher, spikes: SpikeWatch | None, *, left: int) -> None:
        """Without `curve`, another process of the run writes it. `left`: batches that may still be skipped."""
        self._curve, self._watcher, self._spikes, self._left = curve, watcher, spikes, left
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
            line = {"step": state.global_step, **figures}
            self._look(line)
            finite(logs["loss"], f"the loss of step {state.global_step}")
            if self._curve:
                self._curve.add(line)
            self._watcher.step(state.global_step, state.max_steps, logs["loss"])
        elif logs and LOSS in logs and self._trains:
            finite(logs[LOSS], f"the loss on held-out data after step {state.global_step}")
            if self._curve:
                self._curve.measured(state.global_step, logs[LOSS])

    def _look(self, line: dict[str, Any]) -> None:
        if self._spikes is None or (spike := self._spikes.look(line)) is None:
            return
        if self._left > 0:
            raise Spiked(spike)
        self._watcher.note(
            f"step {spike.step} is a spike: {spike.reason}. All batches that may be skipped (spikes.skips) have been"
        )


class Sealer(TrainerCallback):  # type: ignore[misc]
    """Seals each checkpoint, so that a torn one is never resumed from."""

    def __init__(self, processes: Processes) -> None:
        self._processes = processes

    def on_save(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        """Called by TRL after a checkpoint was written: by all processes, of which each wrote its own files."""
        barrier()
        if self._processes.writes:
            seal(Path(args.output_dir) / f"checkpoint-{state.global_step}")
        barrier()


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
