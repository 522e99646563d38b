"""Merging, as a run does it: the models are compared, then merged tensor by tensor."""

import json
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from trainer.checkpoint import read
from trainer.data.sample import Sample
from trainer.making import Part
from trainer.making_recipe import MergeRecipe
from trainer.methods.relatives import check_config, check_shapes, check_tokens
from trainer.selection import CONFIG

if TYPE_CHECKING:
    from trainer.methods.tensors import Tensors


class Merging:
    """The weights of several models become one model. The other files are the base's."""

    def __init__(self, recipe: MergeRecipe) -> None:
        self._recipe = recipe

    @property
    def others(self) -> tuple[str, ...]:
        """References of the models."""
        return tuple(part.model for part in self._recipe.models)

    @property
    def phase(self) -> str:
        """What it does, for people."""
        return f"merging {len(self._recipe.models)} models by {self._recipe.merge_method}"

    @property
    def advice(self) -> str:
        """What people may change when the gate refuses the result."""
        return "Merge other models, or give them other weights."

    def take(self, samples: Sequence[Sample]) -> Sequence[Sample]:
        """All data measures."""
        return samples

    def source(self, base: Part, models: Sequence[Part]) -> str:
        """Where the result comes from, for people."""
        names = ", ".join(part.short for part in models)
        return f"merged from {names} by {self._recipe.merge_method}, base {base.short}"

    def make(self, base: Part, models: Sequence[Part], target: Path) -> None:
        """Writes the result into `target`. Raises Unfit for models that cannot be merged; then nothing is written."""
        from trainer.methods.merge import merged
        from trainer.methods.tensors import Tensors, write_like

        start = Tensors(read(base.folder))
        others = [Tensors(read(part.folder)) for part in models]
        for part, tensors in zip((base, *models), (start, *others), strict=True):
            _check(part, tensors, base, start)
        for name in (*start.checkpoint.selection.other, *start.checkpoint.selection.tokenizer):
            (target / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(base.folder / name, target / name)
        write_like(
            start,
            target,
            lambda name: merged(
                self._recipe, name, start.read(name).float(), [other.read(name).float() for other in others]
            ),
        )


def _check(part: Part, tensors: "Tensors", base: Part, start: "Tensors") -> None:
    """Raises Unfit for a model that cannot be merged with the base."""
    config, wanted = (json.loads((found.folder / CONFIG).read_bytes()) for found in (part, base))
    check_config(part.name, config, wanted)
    check_shapes(part.name, tensors.shapes, start.shapes)
    if part.manifest.tokenizer_sha256 != base.manifest.tokenizer_sha256:
        from transformers import AutoTokenizer

        own, its = (AutoTokenizer.from_pretrained(found.folder, local_files_only=True) for found in (part, base))
        check_tokens(part.name, own.get_vocab(), its.get_vocab())
