"""How far an answer has come, from whichever workers: what is counted, and where another worker continues."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace

from tidegate.worker.v1 import worker_pb2


@dataclass(slots=True)
class ChoiceProgress:
    """One choice of an answer.

    Attributes:
        token_ids: of all its tokens so far.
        text_end: characters of text that these tokens have become.
        finished: nothing more comes.
    """

    token_ids: list[int] = field(default_factory=list)
    text_end: int = 0
    finished: bool = False


@dataclass(frozen=True, slots=True)
class VersionSpan:
    """Tokens of one choice that one version of the model gave.

    Attributes:
        choice: index of the choice.
        version: of the model.
        first_token: index of the first of them in the choice.
        tokens: how many they are, at least 1.
    """

    choice: int
    version: str
    first_token: int
    tokens: int


@dataclass(frozen=True, slots=True)
class VersionChange:
    """Another version of the model went on with an answer.

    Attributes:
        before: the version before.
        tokens: how many each choice had then, by its index.
    """

    before: str
    tokens: Mapping[int, int]


NO_PROMPT = worker_pb2.Started()
"""Of requests that ask for no tokens of the prompt. It is never changed."""


def no_prompt() -> worker_pb2.Started:
    """Returns NO_PROMPT."""
    return NO_PROMPT


@dataclass(slots=True)
class Progress:
    """How far an answer has come.

    Attributes:
        choices_expected: how many choices the request has.
        choices: those that have begun, by index.
        prompt_tokens, cached_tokens: as the first worker counted them.
        version: of the model that answers; empty until a worker has begun.
        adapter_version: of the adapter that answers; empty if none does.
        resumable: another worker with these versions could continue exactly.
        cut: a choice ended at its limit of tokens.
        prompt: the first worker's message, if the request asks for tokens of the prompt.
        changes: of the version, while the answer was being made.
    """

    choices_expected: int
    choices: dict[int, ChoiceProgress] = field(default_factory=dict)
    prompt_tokens: int = 0
    cached_tokens: int = 0
    version: str = ""
    adapter_version: str = ""
    resumable: bool = False
    cut: bool = False
    prompt: worker_pb2.Started = field(default_factory=no_prompt)
    changes: list[VersionChange] = field(default_factory=list)

    @property
    def completion_tokens(self) -> int:
        """Tokens of all choices so far."""
        return sum(len(choice.token_ids) for choice in self.choices.values())

    @property
    def begun(self) -> bool:
        """The client has seen, or is about to see, some of it."""
        return bool(self.choices)

    @property
    def complete(self) -> bool:
        """Every choice is finished."""
        return len(self.choices) == self.choices_expected and all(choice.finished for choice in self.choices.values())

    def start(self, started: worker_pb2.Started) -> None:
        """Notes that a worker has begun. The prompt's cost is that of the first worker."""
        if not self.begun:
            self.prompt_tokens, self.cached_tokens = started.prompt_tokens, started.cached_tokens
            if started.prompt_token_ids or started.prompt_logprobs:
                self.prompt = started
        self.go_on_with(started.model_version or self.version)
        self.adapter_version = started.adapter_version or self.adapter_version
        self.resumable = started.resumable

    def go_on_with(self, version: str) -> None:
        """Notes which version of the model gives the tokens from here on."""
        if self.begun and version != self.version:
            tokens = {index: len(choice.token_ids) for index, choice in self.choices.items()}
            self.changes.append(VersionChange(self.version, tokens))
        self.version = version

    def spans(self) -> tuple[VersionSpan, ...]:
        """Which tokens came from which version, choice by choice; empty if all came from one."""
        if not self.changes:
            return ()
        spans = tuple(span for index in sorted(self.choices) for span in self._spans_of(index))
        return spans if len({span.version for span in spans}) > 1 else ()

    def _spans_of(self, index: int) -> list[VersionSpan]:
        ends = [(change.before, change.tokens.get(index, 0)) for change in self.changes]
        spans: list[VersionSpan] = []
        end = 0
        for version, next_end in [*ends, (self.version, len(self.choices[index].token_ids))]:
            if spans and spans[-1].version == version:
                spans[-1] = replace(spans[-1], tokens=next_end - spans[-1].first_token)
            elif next_end > end:
                spans.append(VersionSpan(index, version, end, next_end - end))
            end = next_end
        return spans

    def take(self, delta: worker_pb2.Delta) -> int:
        """Adds a delta. Returns how many tokens it has."""
        choice = self.choices.get(delta.choice)
        if choice is None:
            choice = self.choices[delta.choice] = ChoiceProgress()
        # A slice is a list. To read the field itself element by element takes twice as long.
        token_ids = delta.token_ids[:]
        choice.token_ids += token_ids
        choice.text_end = delta.text_end
        choice.finished = delta.finish_reason != worker_pb2.FINISH_REASON_UNSPECIFIED
        if choice.finished and delta.finish_reason == worker_pb2.FINISH_REASON_LENGTH:
            self.cut = True
        return len(token_ids)

    def resume_points(self) -> list[worker_pb2.ResumePoint]:
        """Where another worker has to continue: an entry for each choice that has begun."""
        return [
            worker_pb2.ResumePoint(
                choice=index, token_ids=choice.token_ids, text_offset=choice.text_end, finished=choice.finished
            )
            for index, choice in self.choices.items()
        ]

    def usage(self) -> worker_pb2.Usage:
        """The counts so far."""
        return worker_pb2.Usage(
            prompt_tokens=self.prompt_tokens,
            cached_tokens=self.cached_tokens,
            completion_tokens=self.completion_tokens,
        )
