"""What a teacher has answered, kept in the folder of a run: responses.jsonl, a line an answer, as the answers come.

A run that was killed asks only what is not there. When all answers are there, responses.json seals them: with their
count and the SHA-256 of the file. From then on a change is noticed.
"""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Self

from pydantic import BaseModel, ConfigDict

from services.shared.manifests import Sha256
from trainer.publish import file_of
from trainer.teacher import Question, Reply

_LINES, _SEAL = "responses.jsonl", "responses.json"


class ChangedResponses(Exception):
    """The responses are not those that were collected; the message says which file."""


class Collected(BaseModel):
    """What is known of all answers together."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    count: int
    sha256: Sha256


class Responses:
    """The answers to the questions of a run."""

    def __init__(self, folder: Path, questions: Sequence[Question]) -> None:
        """Reads what is there; a last line that a kill cut short is forgotten.

        Raises:
            ChangedResponses: What is there is no answer to these questions, or was changed after it was sealed.
        """
        self._file, self._seal = folder / _LINES, folder / _SEAL
        self._questions = [question.sha256 for question in questions]
        self.replies: dict[int, Reply] = {}
        if self._seal.exists():
            self._check()
        self._read()

    @property
    def missing(self) -> list[int]:
        """Numbers of the questions without an answer."""
        return [number for number in range(len(self._questions)) if number not in self.replies]

    @property
    def is_sealed(self) -> bool:
        """Whether all answers are there, and are known not to have changed."""
        return self._seal.exists()

    def add(self, number: int, reply: Reply) -> None:
        """Keeps the answer to a question."""
        with self._file.open("a") as out:
            out.write(self._line(number, reply))
        self.replies[number] = reply

    def seal(self) -> Collected:
        """All answers are there: what is known of them together. Calling it again changes nothing.

        The file gets the order of the questions, so that its digest says nothing of the order in which answers came.
        """
        if self.missing:
            raise AssertionError("a question has no answer")
        if not self._seal.exists():
            _write(self._file, "".join(self._line(number, reply) for number, reply in sorted(self.replies.items())))
            found = Collected(count=len(self.replies), sha256=file_of(self._file).sha256)
            _write(self._seal, found.model_dump_json(indent=2))
        return Collected.model_validate_json(self._seal.read_bytes())

    def _line(self, number: int, reply: Reply) -> str:
        found = {"number": number, "question": self._questions[number], "finish_reason": reply.finish_reason}
        return json.dumps({**found, "message": dict(reply.message)}) + "\n"

    def _check(self) -> None:
        known = Collected.model_validate_json(self._seal.read_bytes())
        if not self._file.exists() or file_of(self._file).sha256 != known.sha256:
            raise ChangedResponses(
                f"{_LINES} was changed after all answers were there. Name another folder to ask anew"
            )

    def _read(self) -> None:
        if not self._file.exists():
            return
        lines = self._file.read_bytes().splitlines(keepends=True)
        if lines and not lines[-1].endswith(b"\n"):
            lines.pop()
            with self._file.open("r+b") as torn:
                torn.truncate(sum(map(len, lines)))
        for line in lines:
            number, reply = self._parsed(line)
            self.replies[number] = reply

    def _parsed(self, line: bytes) -> tuple[int, Reply]:
        try:
            found = _Line.parse(line)
        except ValueError as error:
            raise ChangedResponses(f"{_LINES} has a line that is no answer: {error}") from None
        if self._questions[found.number : found.number + 1] != [found.question]:
            raise ChangedResponses(f"{_LINES} has an answer to another question than number {found.number}")
        return found.number, Reply(found.message, found.finish_reason)


class _Line(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")

    number: int
    question: Sha256
    finish_reason: str
    message: Mapping[str, Any]

    @classmethod
    def parse(cls, line: bytes) -> Self:
        return cls.model_validate_json(line)


def _write(file: Path, content: str) -> None:
    """In one step, so that a kill leaves the old file or the new one."""
    draft = file.with_name(f"{file.name}.new")
    draft.write_text(content)
    draft.replace(file)
