"""Duplicates, exact and near, over all sources. What the stages leave on the disk are plain numbers, no pickle."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from datatrove.data import Document
from datatrove.pipeline.dedup.exact_dedup import (
    ExactDedupConfig,
    ExactDedupFilter,
    ExactDedupSignature,
    ExactFindDedups,
)
from datatrove.pipeline.dedup.minhash import (
    MinhashConfig,
    MinhashDedupBuckets,
    MinhashDedupCluster,
    MinhashDedupFilter,
    MinhashDedupSignature,
)
from datatrove.pipeline.writers.disk_base import DiskWriter

from trainer.preparing.documents import TASK
from trainer.preparing.filter_settings import MinHash
from trainer.preparing.hashing import HASHES
from trainer.preparing.recipe import MAX_TASKS
from trainer.preparing.words import Words


@dataclass(frozen=True, slots=True)
class Exact:
    """The steps that drop documents whose text is there already. The one of the earliest task is kept."""

    folder: Path

    @property
    def config(self) -> ExactDedupConfig:
        """As datatrove wants it."""
        return ExactDedupConfig(content_getter=_content, document_priority=_priority, hash_config=HASHES)

    def signatures(self) -> ExactDedupSignature:
        """A hash for each document."""
        return ExactDedupSignature(str(self.folder / "signatures"), self.config)

    def find(self) -> ExactFindDedups:
        """Runs as one task."""
        return ExactFindDedups(str(self.folder / "signatures"), str(self.folder / "duplicates"), self.config)

    def filter(self, excluded: DiskWriter) -> ExactDedupFilter:
        """Wants the documents that `signatures` got, in the same order."""
        return ExactDedupFilter(str(self.folder / "duplicates"), self.config, excluded)


@dataclass(frozen=True, slots=True)
class Near:
    """The steps that drop documents which are nearly the same as another."""

    folder: Path
    settings: MinHash
    seed: int
    words: Words

    @property
    def config(self) -> MinhashConfig:
        """As datatrove wants it."""
        return MinhashConfig(**self.settings.model_dump(), seed=self.seed, hash_config=HASHES)

    def signatures(self) -> MinhashDedupSignature:
        """Some hashes for each document, those of its groups of words that are the smallest."""
        return MinhashDedupSignature(str(self.folder / "signatures"), self.config, self.words)

    def buckets(self) -> MinhashDedupBuckets:
        """Pairs with the same hashes. Runs as `num_buckets` tasks."""
        return MinhashDedupBuckets(str(self.folder / "signatures"), str(self.folder / "pairs"), config=self.config)

    def clusters(self) -> MinhashDedupCluster:
        """Runs as one task."""
        return MinhashDedupCluster(str(self.folder / "pairs"), str(self.folder / "removed"), config=self.config)

    def filter(self, excluded: DiskWriter) -> MinhashDedupFilter:
        """Wants the documents that `signatures` got, in the same order."""
        return MinhashDedupFilter(str(self.folder / "removed"), excluded)


def _content(document: Document) -> str:
    return str(document.text.strip())


def _priority(document: Document) -> int:
    found: Any = document.metadata[TASK]
    return MAX_TASKS - int(found)
