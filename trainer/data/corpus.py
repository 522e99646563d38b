"""Text to pretrain on: sources of tokens, cut into sequences of one length, some of which are never learnt."""

from collections.abc import Iterable, Mapping, Sequence

from trainer.data.mixture import Mixture, Source
from trainer.data.permutation import Permutation
from trainer.data.shards import Shards
from trainer.data.token_stream import Tokens, TokenStream
from trainer.data.wrong import WrongData

_HELD_OUT = "held out"
"""Key of the order in which sequences are held out. No seed is in it: runs with other seeds hold out the same ones."""


class SequenceSource:
    """A source whose tokens, one document after the other, are cut into sequences.

    What is left at the end and makes no whole sequence is not used. Which sequences are held out depends on the name of
    the source, on how many sequences it has, and on nothing else.

    Attributes:
        name: Of the source.
        learnt: How many of its sequences are learnt.
        held_out: How many of them only measure.
    """

    def __init__(self, name: str, stream: TokenStream, length: int, held_out: int) -> None:
        self.name, self.held_out = name, held_out
        self.learnt = len(stream) // length - held_out
        self._stream, self._length = stream, length
        self._order = Permutation(self.learnt + held_out, f"{_HELD_OUT}/{name}")

    def learnt_sequence(self, number: int) -> Tokens:
        """The tokens of a sequence that is learnt."""
        return self._sequence(self.held_out + number)

    def held_out_sequence(self, number: int) -> Tokens:
        """The tokens of a sequence that is held out."""
        return self._sequence(number)

    def _sequence(self, number: int) -> Tokens:
        return self._stream.read(self._order(number) * self._length, self._length)


class Corpus:
    """Several sources, mixed by weight.

    Attributes:
        sources: In the order of their shards.
        eos_id: The token that ends every document.
        shards: The folder of the tokens.
    """

    def __init__(
        self,
        shards: Shards,
        *,
        length: int,
        held_out: float,
        most_held_out: int,
        weights: Mapping[str, float],
        seed: int,
    ) -> None:
        """Cuts shards into sequences.

        Args:
            shards: The tokens.
            length: Tokens of a sequence.
            held_out: Share of each source's sequences that is held out; at least one is.
            most_held_out: Sequences that are held out of all sources together, about.
            weights: By the name of a source; those that are not named keep the weight of the shards.
            seed: Of the order.

        Raises:
            WrongData: A source is too small, or a weight is for a source that is not there.
        """
        found = shards.manifest.sources
        if strange := sorted(weights.keys() - {source.name for source in found}):
            raise WrongData(f"weights: there is no source {strange[0]!r}: {_listed(source.name for source in found)}")
        self.eos_id, self.shards = shards.manifest.eos_id, shards.folder
        streams = [TokenStream(shards, source) for source in found]
        counts = [len(stream) // length for stream in streams]
        for source, stream, count in zip(found, streams, counts, strict=True):
            if count < 2:
                raise WrongData(
                    f"max_length = {length}: the source {source.name!r} has {len(stream)} tokens, and at least"
                    f" {2 * length} are needed, one sequence to learn and one to measure with: set a smaller max_length"
                )
        share = min(held_out, most_held_out / sum(counts))
        self.sources = tuple(
            SequenceSource(source.name, stream, length, min(max(1, round(count * share)), count - 1))
            for source, stream, count in zip(found, streams, counts, strict=True)
        )
        self._mixture = Mixture(
            [
                Source(source.name, weights.get(source.name, source.weight), cut.learnt)
                for source, cut in zip(found, self.sources, strict=True)
            ],
            seed,
        )

    @property
    def learnt(self) -> int:
        """Sequences that are learnt, each counted once."""
        return sum(source.learnt for source in self.sources)

    @property
    def held_out(self) -> int:
        """Sequences that are held out."""
        return sum(source.held_out for source in self.sources)

    def learnt_at(self, position: int) -> Tokens:
        """The sequence that is learnt at a position of the run (mixture.py)."""
        place = self._mixture.at(position)
        return self.sources[place.source].learnt_sequence(place.sequence)

    def held_out_at(self, number: int) -> Tokens:
        """A sequence that is held out, by its number among those of all sources."""
        for source in self.sources:
            if number < source.held_out:
                return source.held_out_sequence(number)
            number -= source.held_out
        raise IndexError(number)

    def passes(self, sequences: int) -> Mapping[str, float]:
        """How often each source is gone through when so many sequences have been learnt."""
        shares = self._mixture.shares
        return {
            source.name: sequences * share / source.learnt for source, share in zip(self.sources, shares, strict=True)
        }


def _listed(names: Iterable[str]) -> str:
    found: Sequence[str] = sorted(names)
    return f"the data has {', '.join(found)}"
