"""Shards as sequences: nothing is learnt twice in a pass, and what is held out is never learnt."""

from pathlib import Path

import numpy as np
import pytest

from tests.unit.trainer.data.numbered_shards import EOS, shards
from trainer.data.corpus import Corpus
from trainer.data.shards import Shards
from trainer.data.wrong import WrongData


def corpus(found: Shards, *, length: int = 8, most: int = 1000, seed: int = 0, **weights: float) -> Corpus:
    return Corpus(found, length=length, held_out=0.1, most_held_out=most, weights=weights, seed=seed)


def learnt(found: Corpus, count: int) -> list[tuple[int, ...]]:
    return [tuple(found.learnt_at(position).tolist()) for position in range(count)]


def held_out(found: Corpus) -> set[tuple[int, ...]]:
    return {tuple(found.held_out_at(number).tolist()) for number in range(found.held_out)}


def test_a_pass_has_every_sequence_once_but_those_that_are_held_out(tmp_path: Path) -> None:
    """Sequences go over the ends of files; 5 tokens at the end make no whole sequence."""
    found = corpus(shards(tmp_path, {"web": [100, 3, 262]}))
    assert (found.learnt, found.held_out) == (41, 4)
    first, second = learnt(found, 41), learnt(found, 82)[41:]
    assert len(set(first)) == 41
    assert set(first) == set(second)
    assert first != second
    assert not held_out(found) & set(first)
    everything = np.concatenate([np.array(row) for row in {*first, *held_out(found)}])
    tokens = set(range(1, 361)) - {100, 103}  # the end tokens of the first two files stand there
    assert set(everything.tolist()) == tokens | {EOS}


def test_what_is_held_out_does_not_depend_on_the_seed_or_on_other_sources(tmp_path: Path) -> None:
    alone = corpus(shards(tmp_path / "alone", {"web": [400]}))
    beside = corpus(shards(tmp_path / "beside", {"web": [400], "code": [300]}), seed=9)
    assert held_out(alone) < held_out(beside)
    assert learnt(alone, 20) != learnt(corpus(shards(tmp_path / "again", {"web": [400]}), seed=9), 20)


def test_no_more_is_held_out_than_the_bound_and_one_of_each_source_at_least(tmp_path: Path) -> None:
    found = corpus(shards(tmp_path, {"web": [8000], "code": [16]}), most=11)
    assert [source.held_out for source in found.sources] == [11, 1]


def test_weights_of_the_recipe_count_in_place_of_those_of_the_shards(tmp_path: Path) -> None:
    prepared = shards(tmp_path, {"web": [400], "code": [400]})
    assert corpus(prepared).passes(90) == {"web": 1.0, "code": 1.0}
    assert corpus(prepared, web=3.0).passes(90) == pytest.approx({"web": 1.5, "code": 0.5})
    with pytest.raises(WrongData, match="there is no source 'wub': the data has code, web"):
        corpus(prepared, wub=1.0)


def test_a_source_without_two_sequences_is_refused(tmp_path: Path) -> None:
    with pytest.raises(WrongData, match="the source 'code' has 15 tokens, and at least 16 are needed"):
        corpus(shards(tmp_path, {"web": [400], "code": [15]}))
