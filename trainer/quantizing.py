"""Quantizing, as a run does it."""

import shutil
from collections.abc import Sequence
from pathlib import Path
from random import Random

from trainer import gptq
from trainer.data.sample import Sample
from trainer.data.split import split
from trainer.data.wrong import WrongData
from trainer.errors import Unfit
from trainer.examples import Renderer
from trainer.making import Part
from trainer.making_recipe import QuantizeRecipe
from trainer.quantize import CannotQuantize, Precision, quantize, quantize_by
from trainer.questions import questions

_WORK = "gptq"
"""Folder beside the result, for what llm-compressor makes."""


class Quantizing:
    """The matrices of the base are rounded."""

    def __init__(self, recipe: QuantizeRecipe, llm_compressor: Path | None) -> None:
        """`llm_compressor`: the Python of its environment."""
        self._recipe, self._python = recipe, llm_compressor
        self._calibration: Sequence[Sample] = ()

    @property
    def others(self) -> tuple[str, ...]:
        """Only the base goes in."""
        return ()

    @property
    def phase(self) -> str:
        """What it does, for people."""
        return f"quantizing to {self._means}"

    @property
    def advice(self) -> str:
        """What people may change when the gate refuses the result."""
        if self._recipe.precision == "int4" and self._recipe.algorithm == "rtn":
            return "Choose a precision that rounds less, or algorithm: gptq."
        return "Choose a precision that rounds less."

    def take(self, samples: Sequence[Sample]) -> Sequence[Sample]:
        """What gptq looks at does not measure it. Raises WrongData, Unfit."""
        if self._recipe.algorithm != "gptq":
            return samples
        gptq.check_python(self._python)
        if len(samples) < 2:
            raise WrongData("algorithm: gptq needs one sample to look at and one to measure with, and there is one")
        sides = split(samples, self._recipe.held_out, Random(self._recipe.seed))  # noqa: S311
        self._calibration = sides.training
        return sides.held_out

    def source(self, base: Part, models: Sequence[Part]) -> str:
        """Where the result comes from, for people."""
        return f"quantized from {base.short} to {self._means}"

    def make(self, base: Part, models: Sequence[Part], target: Path) -> None:
        """Writes the result into `target`. Raises Unfit for a base that cannot be quantized, WrongData, GptqFailed."""
        precision = Precision(self._recipe.precision)
        try:
            if self._recipe.algorithm == "gptq":
                quantize_by(lambda scheme: self._gptq(base, target, scheme), base.folder, target, precision)
            else:
                quantize(base.folder, target, precision)
        except CannotQuantize as error:
            reason = str(error).replace(str(base.folder), base.short)
            raise Unfit(f"base = {self._recipe.base!r}, precision = {self._recipe.precision}: {reason}") from None

    @property
    def _means(self) -> str:
        by = " by gptq" if self._recipe.algorithm == "gptq" else ""
        return f"{self._recipe.precision}{by}"

    def _gptq(self, base: Part, target: Path, scheme: dict[str, object]) -> Path:
        from trainer.methods.base_model import tokenizer_of

        tokenizer = tokenizer_of(self._recipe, base.folder, for_chats=bool(questions(self._calibration)))
        examples = Renderer(tokenizer, self._recipe.max_length).examples(self._calibration).kept
        if not examples:
            raise WrongData(f"max_length = {self._recipe.max_length} cuts off the answers of all examples")
        work = target.parent / _WORK
        shutil.rmtree(work, ignore_errors=True)
        work.mkdir(parents=True)
        rows = [example.input_ids for example in examples[: self._recipe.calibration_samples]]
        return gptq.run(gptq.check_python(self._python), base.folder, work, rows, scheme)
