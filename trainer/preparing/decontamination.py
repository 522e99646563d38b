"""An index of the evaluation sets' word groups. datatrove's filter drops documents that hold one of them.

Its own indexer reads lighteval's tasks only; this one reads files, and hashes the groups as the filter does.
"""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from datatrove.pipeline.decont.n_grams import NGramsDecontConfig
from datatrove.utils.hashing import create_hash_func
from datatrove.utils.text import ngrams, simplify_text

from trainer.data.containers.record import Fault
from trainer.data.content import Budget
from trainer.data.folder import files_of
from trainer.data.records import records
from trainer.data.wrong import WrongData
from trainer.preparing.filter_settings import Decontamination
from trainer.preparing.hashing import HASHES
from trainer.preparing.words import Words

INDEX = "index.json"
_HASHES = ".index.hashes"
MAX_GROUPS = 100_000_000
"""The index is held in memory by each task."""


def config_of(settings: Decontamination) -> NGramsDecontConfig:
    """As datatrove's filter wants it."""
    return NGramsDecontConfig(n_grams=settings.n_grams, hash_config=HASHES)


def build_index(settings: Decontamination, folder: Path, words: Words) -> dict[str, Any]:
    """Writes the index, unless it is there already.

    Returns:
        Counts for the report: `texts`, `groups`, and `too_short`: texts with fewer words than a group has, which no
        document can be compared with.

    Raises:
        WrongData: A file cannot be read, or the sets have no group of words at all.
    """
    if (done := folder / INDEX).is_file():
        found: dict[str, Any] = json.loads(done.read_bytes())
        return found
    folder.mkdir(parents=True, exist_ok=True)
    counts = {"texts": 0, "groups": 0, "too_short": 0}
    for number, place in enumerate(settings.data):
        hashes: set[int] = set()
        for text in _texts(place):
            new = _hashes(text, settings, words)
            hashes |= new
            counts["texts"] += 1
            counts["too_short"] += not new
            if counts["groups"] + len(hashes) > MAX_GROUPS:
                raise WrongData(f"decontaminate.data: the sets have more than {MAX_GROUPS} groups of words")
        np.array(sorted(hashes), dtype=np.uint64).tofile(folder / f"{number:03d}_{place.stem}{_HASHES}")
        counts["groups"] += len(hashes)
    if not counts["groups"]:
        raise WrongData(f"decontaminate: no text of the sets has {settings.n_grams} words: set a smaller n_grams")
    done.write_text(json.dumps(counts))
    return counts


def _hashes(text: str, settings: Decontamination, words: Words) -> set[int]:
    config = config_of(settings)
    hashed = create_hash_func(config.hash_config)
    found = words.word_tokenize(simplify_text(text, config.norm_config))
    return {hashed(" ".join(group)) for group in ngrams(found, config.n_grams)}


def _texts(place: Path) -> Iterator[str]:
    """All texts of each record, joined: a question goes on in its answer."""
    budget = Budget()
    for file in files_of(place)[0]:
        for found in records(file, budget, None):
            if isinstance(found, Fault):
                raise WrongData(f"{found.place}: {found.sentence}")
            yield " ".join(_strings(found.fields))


def _strings(value: Any) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict):
        for item in value.values():
            yield from _strings(item)
    elif isinstance(value, list):
        for item in value:
            yield from _strings(item)
