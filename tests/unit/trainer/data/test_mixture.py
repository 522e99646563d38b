"""The order of pretraining data is a pure function of seed and position."""

from collections import Counter
from itertools import chain

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from trainer.data.mixture import Mixture, Place, Source, positions
from trainer.data.permutation import Permutation

SOURCES = st.lists(st.tuples(st.floats(0.001, 1000), st.integers(1, 40)), min_size=1, max_size=6).map(
    lambda found: [Source(f"source {place}", *one) for place, one in enumerate(found)]
)


@given(st.integers(1, 3000), st.text(max_size=5))
@settings(max_examples=60)
def test_every_number_goes_to_a_place_of_its_own(size: int, key: str) -> None:
    order = Permutation(size, key)
    assert sorted(map(order, range(size))) == list(range(size))


@pytest.mark.parametrize("size", [10, 1000, 10**12, 2**62])
def test_another_key_makes_another_order(size: int) -> None:
    some = range(10)
    first, second = ([Permutation(size, key)(number) for number in some] for key in ("a", "b"))
    assert first != second
    assert first != list(some)
    assert all(0 <= number < size for number in first)


def test_an_order_is_spread_as_chance_would_spread_it() -> None:
    """Of the first tenth of 10,000 numbers, about a tenth goes to each tenth: chi squared, 9 degrees of freedom."""
    tenths = Counter(Permutation(10_000, "spread")(number) // 1000 for number in range(1000))
    assert sum((tenths[tenth] - 100) ** 2 / 100 for tenth in range(10)) < 27.9  # p = 0.001
    follows = sum(
        Permutation(10_000, "spread")(number + 1) == Permutation(10_000, "spread")(number) + 1 for number in range(1000)
    )
    assert follows < 5


def test_the_order_stays_the_same_in_every_release() -> None:
    """A run that began with one release goes on with the next."""
    mixture = Mixture([Source("web", 3, 5), Source("code", 1, 4)], seed=7)
    assert [(place.source, place.sequence) for place in map(mixture.at, range(12))] == [
        (1, 2),
        (0, 1),
        (0, 3),
        (0, 2),
        (1, 3),
        (0, 4),
        (0, 0),
        (0, 3),
        (1, 0),
        (0, 2),
        (0, 4),
        (0, 0),
    ]


@given(SOURCES, st.integers(0, 2**31 - 1), st.integers(1, 300))
@settings(max_examples=60)
def test_each_source_gets_its_share_and_is_gone_through_whole(sources: list[Source], seed: int, count: int) -> None:
    mixture = Mixture(sources, seed)
    dealt = [mixture.at(position) for position in range(count)]
    total = sum(source.weight for source in sources)
    for number, source in enumerate(sources):
        own = [place for place in dealt if place.source == number]
        assert abs(len(own) - count * source.weight / total) < len(sources)
        draws = [place.epoch * source.sequences for place in own]
        assert draws == [at // source.sequences * source.sequences for at in range(len(own))]
        for epoch in range(len(own) // source.sequences):
            passed = own[epoch * source.sequences : (epoch + 1) * source.sequences]
            assert sorted(place.sequence for place in passed) == list(range(source.sequences))


@given(
    st.integers(1, 4),
    st.integers(1, 4),
    st.sampled_from([1, 2, 3, 4, 6]),
    st.integers(0, 20),
    st.integers(0, 2**31 - 1),
)
@settings(max_examples=60)
def test_processes_have_together_what_one_has_alone(batch: int, more: int, ranks: int, step: int, seed: int) -> None:
    """A global batch of batch * more * ranks sequences, in one process or in several."""
    mixture = Mixture([Source("web", 3, 50), Source("code", 1, 7)], seed)

    def learnt(ranks: int, batch: int, accumulation: int) -> list[Place]:
        shape = {"batch": batch, "accumulation": accumulation, "ranks": ranks}
        found = chain.from_iterable(positions(step, rank=rank, **shape) for rank in range(ranks))
        return [mixture.at(position) for position in sorted(chain.from_iterable(found))]

    whole = batch * more * ranks
    assert learnt(ranks, batch, more) == learnt(1, whole, 1) == learnt(1, 1, whole)
    assert learnt(1, whole, 1) == [mixture.at(position) for position in range(step * whole, (step + 1) * whole)]


@given(st.integers(1, 3), st.integers(1, 3), st.integers(1, 4))
@settings(max_examples=20)
def test_positions_are_dealt_out_as_accelerate_does_it(batch: int, accumulation: int, ranks: int) -> None:
    from accelerate.data_loader import BatchSamplerShard
    from torch.utils.data import BatchSampler

    steps = 3
    everything = BatchSampler(range(steps * batch * accumulation * ranks), batch, drop_last=False)
    for rank in range(ranks):
        own = [
            list(part)
            for step in range(steps)
            for part in positions(step, batch=batch, accumulation=accumulation, rank=rank, ranks=ranks)
        ]
        assert list(BatchSamplerShard(everything, ranks, rank)) == own
