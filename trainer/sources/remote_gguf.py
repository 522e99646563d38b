"""One GGUF file of a hub's repository or of a bucket. It is brought to this machine to be converted.

People name the file, or only its quantization, as for llama.cpp and vLLM: `organisation/name:Q4_K_M`.
"""

import asyncio
import hashlib
import re
from collections.abc import Callable, Iterable
from contextlib import aclosing
from dataclasses import dataclass
from pathlib import Path

from trainer.selection import listed
from trainer.sources.source import Listing, Place, WrongSource

SUFFIX = ".gguf"
_MAX_LISTED = 40
_PROJECTOR = "mmproj"
_PART = re.compile(r"-\d{5}-of-\d{5}$")


@dataclass(frozen=True, slots=True)
class RemoteGguf:
    """A source of one GGUF file that is elsewhere.

    Attributes:
        name: What the model is called unless the caller says otherwise.
        place: Where the file is, beside others.
        wanted: The file's name, which ends with `.gguf`, or its quantization.
    """

    name: str
    place: Place
    wanted: str

    async def find(self) -> tuple[Listing, str]:
        """What the place holds, and the file of it that is meant. Raises WrongSource."""
        listing = await self.place.listing()
        return listing, choose(listing.files, self.wanted)

    async def fetch(self, listing: Listing, name: str, folder: Path, progress: Callable[[int], None]) -> Path:
        """Writes the file into `folder`, and checks it against what the place says of it. Raises WrongSource, OSError.

        `progress` is told the bytes of each piece.
        """
        target, digest, size = folder / name.rpartition("/")[2], hashlib.sha256(), 0
        with target.open("wb") as out:
            async with aclosing(self.place.read(name)) as chunks:
                async for chunk in chunks:
                    await asyncio.to_thread(out.write, chunk)
                    await asyncio.to_thread(digest.update, chunk)
                    size += len(chunk)
                    progress(len(chunk))
        told = listing.files[name]
        if size != told.size or digest.hexdigest() != (told.sha256 or digest.hexdigest()):
            raise WrongSource(f"{name} did not arrive as it is: start the import again")
        return target


def choose(names: Iterable[str], wanted: str) -> str:
    """The one file that `wanted` means: a file's name with its folders, or a quantization.

    Raises:
        WrongSource: There is none, there are several, or it is a part of a model; the message lists what there is.
    """
    there = sorted(name for name in names if name.endswith(SUFFIX))
    if not there:
        raise WrongSource("there is no .gguf file")
    found = [name for name in there if name == wanted or _is_of(name, wanted)]
    whole = [name for name in found if not _PART.search(_stem(name))]
    if found and not whole:
        raise WrongSource(
            f"{found[0]} is a part of a model that was split, and only whole files are converted: download all parts, "
            "join them (llama-gguf-split --merge), and import the file that this writes"
        )
    if not whole:
        raise WrongSource(f"there is no GGUF file {wanted}. There are {listed(there, _MAX_LISTED)}")
    if len(whole) > 1:
        raise WrongSource(f"{wanted} may be any of {listed(whole, _MAX_LISTED)}: name the file instead")
    return whole[0]


def _is_of(name: str, quantization: str) -> bool:
    """Whether the file's name ends with the quantization, or the name of its folder does."""
    folder, _, _ = name.rpartition("/")
    if quantization.endswith(SUFFIX) or _PROJECTOR in name.lower():
        return False
    of_file = _PART.sub("", _stem(name))
    return any(re.search(rf"(^|[-._/]){re.escape(quantization)}$", text, re.IGNORECASE) for text in (of_file, folder))


def _stem(name: str) -> str:
    return name.removesuffix(SUFFIX)
