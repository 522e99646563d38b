"""One request of the traffic, and recordings of traffic: one JSON object a line."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from pydantic import Field, ValidationError

from loadtests.strict import Strict
from services.shared.classes import ServiceClass
from services.shared.settings import WrongSettings
from services.shared.tier import Tier

BLOCK_TOKENS = 64
"""As the gateway hashes prompts (gateway/domain/prompt.py). Simulated engines keep KV in the same blocks."""


@dataclass(frozen=True, slots=True)
class Ask:
    """One request. `blocks`: a hash for every full block of prompt and answer; it covers all blocks before it too."""

    index: int
    due_ms: float
    service_class: ServiceClass
    tenant: str
    prompt_tokens: int
    output_tokens: int
    blocks: tuple[bytes, ...]

    @property
    def prompt_blocks(self) -> tuple[bytes, ...]:
        """The hashes of the full blocks of the prompt."""
        return self.blocks[: self.prompt_tokens // BLOCK_TOKENS]

    @property
    def request_id(self) -> str:
        """The id of the request in the router."""
        return f"sim-{self.index}"


class Line(Strict):
    """One request of a recording. `blocks`: of 64 tokens, in hexadecimal; those of the answer may be left out."""

    due_ms: float = Field(ge=0)
    tier: Tier = Field(alias="class")
    tenant: str = Field(min_length=1, max_length=64)
    prompt_tokens: int = Field(ge=1)
    output_tokens: int = Field(ge=1)
    blocks: tuple[str, ...] = Field(max_length=100_000)


def write(file: Path, asks: Iterable[Ask]) -> None:
    """Writes a recording."""
    with file.open("w") as lines:
        for ask in asks:
            lines.write(f"{_line(ask).model_dump_json(by_alias=True)}\n")


def read(file: Path) -> list[Ask]:
    """Reads a recording, in order of time. Raises WrongSettings; it names file and line."""
    with file.open() as lines:
        found = sorted(_parsed(file, lines), key=lambda line: line.due_ms)
    return [_ask(index, line) for index, line in enumerate(found)]


def _parsed(file: Path, lines: Iterable[str]) -> Iterator[Line]:
    for number, line in enumerate(lines, 1):
        try:
            yield Line.model_validate_json(line)
        except ValidationError as error:
            raise WrongSettings(f"{file}:{number}: {error.errors()[0]['loc']}: {error.errors()[0]['msg']}") from None


def _line(ask: Ask) -> Line:
    return Line.model_validate(
        {
            "due_ms": ask.due_ms,
            "class": ask.service_class.label,
            "tenant": ask.tenant,
            "prompt_tokens": ask.prompt_tokens,
            "output_tokens": ask.output_tokens,
            "blocks": [block.hex() for block in ask.blocks],
        }
    )


def _ask(index: int, line: Line) -> Ask:
    """Blocks that the recording leaves out are shared with no other request."""
    known = tuple(bytes.fromhex(block) for block in line.blocks)
    full = (line.prompt_tokens + line.output_tokens) // BLOCK_TOKENS
    own = tuple(b"%d/%d" % (index, number) for number in range(len(known), full))
    return Ask(
        index=index,
        due_ms=line.due_ms,
        service_class=ServiceClass.of_label(line.tier),
        tenant=line.tenant,
        prompt_tokens=line.prompt_tokens,
        output_tokens=line.output_tokens,
        blocks=(known + own)[:full],
    )
