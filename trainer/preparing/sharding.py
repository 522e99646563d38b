"""From documents to shards: counts, token ids, report and shards.json, which is written last."""

import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from trainer.data.shard_manifest import (
    INDEX_SUFFIX,
    TOKENIZER,
    Dtype,
    ShardFile,
    ShardManifest,
    ShardSource,
    Tokenizer,
    described,
    tokenizer_digest,
    write_manifest,
)
from trainer.data.wrong import WrongData
from trainer.preparing.cleaning import Cleaning
from trainer.preparing.documents import Kept, SourceReader
from trainer.preparing.executors import Stages
from trainer.preparing.filters import STEPS
from trainer.preparing.plan import Plan
from trainer.preparing.recipe import PrepareRecipe
from trainer.preparing.report import REPORT, TaskCount, make_report, write_report
from trainer.preparing.tokenising import Count, WriteShards, shard_name
from trainer.preparing.tokenizer_folder import Vocabulary, vocabulary


@dataclass(frozen=True, slots=True)
class Sharding:
    """The last stages. `output` is the folder of the shards."""

    recipe: PrepareRecipe
    plan: Plan
    work: Path
    output: Path
    stages: Stages

    def run(self, cleaning: Cleaning, tokenizer: Path, decontamination: Mapping[str, int] | None) -> None:
        """Writes the shards.

        Args:
            cleaning: Its stages are finished.
            tokenizer: Folder of the tokenizer.
            decontamination: For the report.

        Raises:
            WrongData: No document is left; the tokenizer cannot be used.
        """
        ids, tasks = vocabulary(tokenizer, self.recipe.eos_token, self.recipe.bos_token), len(self.plan.tasks)
        counts, names = self.work / "counts", [task.source for task in self.plan.tasks]
        count = Count(counts, cleaning.dropped, cleaning.clean, STEPS, tokenizer, ids)
        self.stages.run("count", [SourceReader(self.plan.tasks), count], tasks)
        self.stages.run("shards", [Kept(cleaning.clean), WriteShards(self.output, names, tokenizer, ids)], tasks)
        sources = self._sources(ids.dtype)
        counted = [TaskCount.read(counts, task) for task in range(tasks)]
        report = make_report(self.plan, counted, sources, STEPS, decontamination, ids.size)
        write_report(self.work, report)
        if not report.kept.documents:
            raise WrongData(f"no document is left of {report.read.documents}: see {self.work / REPORT}")
        write_report(self.output, report)
        write_manifest(self.output, self._manifest(tokenizer, ids, sources))

    def _sources(self, dtype: Dtype) -> tuple[ShardSource, ...]:
        files: dict[str, list[ShardFile]] = {name: [] for name in self.recipe.sources}
        for number, task in enumerate(self.plan.tasks):
            name = f"{task.source}/{shard_name(number)}"
            if (self.output / name).stat().st_size:
                files[task.source].append(described(self.output, name, dtype))
            else:  # nothing is left of the task, and an empty file cannot be mapped
                (self.output / f"{name}{INDEX_SUFFIX}").unlink(missing_ok=True)
        weights = {name: source.weight for name, source in self.recipe.sources.items()}
        return tuple(ShardSource(name=name, weight=weights[name], files=tuple(found)) for name, found in files.items())

    def _manifest(self, tokenizer: Path, ids: Vocabulary, sources: tuple[ShardSource, ...]) -> ShardManifest:
        folder = self.output / TOKENIZER
        shutil.rmtree(folder, ignore_errors=True)
        shutil.copytree(tokenizer, folder)
        return ShardManifest(
            tokenizer=Tokenizer(sha256=tokenizer_digest(folder)),
            vocab_size=ids.size,
            dtype=ids.dtype,
            bos_id=ids.bos_id,
            eos_id=ids.eos_id,
            sources=tuple(source for source in sources if source.files),
        )
