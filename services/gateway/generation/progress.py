"""How far an answer has come, whichever workers it came from: what is counted, and where another worker goes on."""

from dataclasses import dataclass, field

from tidegate.worker.v1 import worker_pb2


@dataclass(slots=True)
class ChoiceProgress:
    token_ids: list[int] = field(default_factory=list)
    text_end: int = 0
    finished: bool = False


@dataclass(slots=True)
class Progress:
    """`version`: weights that it is answered with; empty until a worker has begun."""

    wanted: int
    choices: dict[int, ChoiceProgress] = field(default_factory=dict)
    prompt_tokens: int = 0
    cached_tokens: int = 0
    version: str = ""
    resumable: bool = False

    @property
    def completion_tokens(self) -> int:
        return sum(len(choice.token_ids) for choice in self.choices.values())

    @property
    def begun(self) -> bool:
        """The client has seen, or is about to see, some of it."""
        return bool(self.choices)

    @property
    def complete(self) -> bool:
        return len(self.choices) == self.wanted and all(choice.finished for choice in self.choices.values())

    def start(self, started: worker_pb2.Started) -> None:
        """A worker has begun. What the prompt cost is what it cost the first time."""
        if not self.begun:
            self.prompt_tokens, self.cached_tokens = started.prompt_tokens, started.cached_tokens
        self.version = started.model_version or self.version
        self.resumable = started.resumable

    def take(self, delta: worker_pb2.Delta) -> None:
        choice = self.choices.get(delta.choice)
        if choice is None:
            choice = self.choices[delta.choice] = ChoiceProgress()
        choice.token_ids.extend(delta.token_ids)
        choice.text_end = delta.text_end
        choice.finished = delta.finish_reason != worker_pb2.FINISH_REASON_UNSPECIFIED

    def resume_points(self) -> list[worker_pb2.ResumePoint]:
        return [
            worker_pb2.ResumePoint(
                choice=index, token_ids=choice.token_ids, text_offset=choice.text_end, finished=choice.finished
            )
            for index, choice in self.choices.items()
        ]

    def usage(self) -> worker_pb2.Usage:
        return worker_pb2.Usage(
            prompt_tokens=self.prompt_tokens,
            cached_tokens=self.cached_tokens,
            completion_tokens=self.completion_tokens,
        )
