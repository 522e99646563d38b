"""What a worker asks of an engine, and what it gets back. Adapters translate; nothing here knows gRPC or vLLM."""

from collections.abc import AsyncGenerator, Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, Protocol

from services.shared.manifests import Manifest

FinishReason = Literal["stop", "length", "tool_calls", "content_filter"]

# Tokens in one delta, at most.
MAX_DELTA_TOKENS = 8


# ---- asked ----


@dataclass(frozen=True, slots=True)
class ChatPrompt:
    """The OpenAI fields that a chat template reads, decoded from JSON and already validated by the gateway."""

    messages: list[dict[str, Any]]
    tools: list[dict[str, Any]] | None = None
    tool_choice: str | dict[str, Any] | None = None
    parallel_tool_calls: bool = True
    reasoning_effort: str | None = None


@dataclass(frozen=True, slots=True)
class TextPrompt:
    text: str


@dataclass(frozen=True, slots=True)
class TokenPrompt:
    ids: tuple[int, ...]


Prompt = ChatPrompt | TextPrompt | TokenPrompt


@dataclass(frozen=True, slots=True)
class Structure:
    """A form that the answer must have. `text` is the schema, expression or grammar; empty for json_object."""

    kind: Literal["json_schema", "regex", "grammar", "json_object"]
    text: str = ""


@dataclass(frozen=True, slots=True)
class Sampling:
    """max_tokens None: as many as the context has room for. top_logprobs None: none; 0: of the chosen tokens only."""

    max_tokens: int | None = None
    min_tokens: int = 0
    temperature: float = 1.0
    top_p: float = 1.0
    top_k: int = 0
    min_p: float = 0.0
    seed: int | None = None
    n: int = 1
    stop: tuple[str, ...] = ()
    stop_token_ids: tuple[int, ...] = ()
    ignore_eos: bool = False
    presence_penalty: float = 0.0
    frequency_penalty: float = 0.0
    repetition_penalty: float = 1.0
    logit_bias: Mapping[int, float] = field(default_factory=dict)
    top_logprobs: int | None = None
    structure: Structure | None = None
    echo: bool = False


@dataclass(frozen=True, slots=True)
class ResumePoint:
    """Where an earlier attempt of one choice stopped.

    text_offset: text_end of the last delta that the client has.
    """

    token_ids: tuple[int, ...]
    text_offset: int
    finished: bool = False


@dataclass(frozen=True, slots=True)
class EngineRequest:
    """request_id is unique among those that run. `resume` maps a choice to its point; priority 0 goes first."""

    request_id: str
    prompt: Prompt
    sampling: Sampling = Sampling()
    resume: Mapping[int, ResumePoint] = field(default_factory=dict)
    cache_salt: str = ""
    priority: int = 0


# ---- answered ----


@dataclass(frozen=True, slots=True)
class Started:
    """cached_tokens: prompt tokens whose KV was there already. resumable: an engine with the same weights would go on
    exactly where this one stops, wherever that is."""

    prompt_tokens: int
    cached_tokens: int
    resumable: bool = False


@dataclass(frozen=True, slots=True)
class TopLogprob:
    token_id: int
    token: bytes
    logprob: float


@dataclass(frozen=True, slots=True)
class TokenLogprob:
    token_id: int
    token: bytes
    logprob: float
    top: tuple[TopLogprob, ...] = ()


@dataclass(frozen=True, slots=True)
class ToolCallDelta:
    index: int
    id: str = ""
    name: str = ""
    arguments: str = ""


@dataclass(slots=True)
class Delta:
    """What one choice has gained. Not to be changed, though not frozen: that would cost every token.

    token_ids also holds tokens whose text waits for a possible stop string.
    text_from, text_end: the characters of the decoded answer that this delta covers, with the markup that parsers eat
    and without an echoed prompt; text_from is the text_end of the delta before.
    """

    choice: int
    text: str = ""
    token_ids: tuple[int, ...] = ()
    reasoning: str = ""
    tool_calls: tuple[ToolCallDelta, ...] = ()
    logprobs: tuple[TokenLogprob, ...] = ()
    finish_reason: FinishReason | None = None
    stop_reason: str = ""
    text_from: int = 0
    text_end: int = 0


@dataclass(frozen=True, slots=True)
class Usage:
    """Tokens of the whole answer over all choices; completion_tokens counts those resumed from too."""

    prompt_tokens: int
    cached_tokens: int
    completion_tokens: int
    reasoning_tokens: int = 0
    accepted_draft_tokens: int = 0


@dataclass(frozen=True, slots=True)
class Ended:
    usage: Usage


Event = Started | Delta | Ended

# Whether a delta was taken where it was made. Must neither block nor raise.
Take = Callable[[Delta], bool]


def leave(delta: Delta) -> bool:
    """Takes nothing: every delta is yielded."""
    return False


# ---- what went wrong ----


class EngineError(Exception):
    """Root of what `generate` raises."""


class InvalidPrompt(EngineError):
    """The request is at fault; every engine would refuse it. `param` names the OpenAI parameter."""

    def __init__(self, message: str, param: str = "") -> None:
        super().__init__(message)
        self.param = param


class ContextTooLong(InvalidPrompt):
    """Prompt and answer do not fit the context."""


class EngineDead(EngineError):
    """The engine is gone, and everything that it ran with it."""


class SwapFailed(EngineError):
    """The weights were not replaced. `intact`: the old ones are there; else nothing may run until a swap succeeds."""

    def __init__(self, message: str, *, intact: bool) -> None:
        super().__init__(message)
        self.intact = intact


# ---- the engine ----


@dataclass(frozen=True, slots=True)
class EngineInfo:
    """max_running: sequences that run together. kv_tokens: tokens that the KV cache holds.
    prefill_tokens_per_s: of prompts, when it does nothing else; 0: not known."""

    architecture: str
    model_version: str
    context_tokens: int
    max_running: int
    kv_tokens: int
    vocab_size: int
    prefill_tokens_per_s: int = 0


@dataclass(frozen=True, slots=True)
class EngineLoad:
    """running, waiting: sequences. steps, generated_tokens only ever grow while the process lives."""

    running: int = 0
    waiting: int = 0
    kv_tokens_used: int = 0
    steps: int = 0
    generated_tokens: int = 0


@dataclass(frozen=True, slots=True)
class Model:
    """A verified model version on local disk, and the draft model that speculates for it, if there is one."""

    folder: Path
    manifest: Manifest
    draft: Path | None = None


def unfit(old: Manifest, new: Manifest) -> str | None:
    """Why an engine that was started on `old` cannot take the weights of `new` in place, or None."""
    for what in ("model", "kind", "architecture", "vocab_size", "tokenizer_sha256"):
        was, wanted = getattr(old, what), getattr(new, what)
        if was != wanted:
            return f"{what} is {wanted}, this engine runs {was}: only workers that start on it can serve this version"
    return None


class Engine(Protocol):
    """Runs many requests in steps. All methods belong to one event loop; `load` and `info` never block."""

    async def start(self, model: Model) -> None:
        """Loads the model; may take minutes without blocking the loop. Raises EngineDead when it cannot."""
        ...

    @property
    def info(self) -> EngineInfo:
        """Only after `start`."""
        ...

    def load(self) -> EngineLoad: ...

    @property
    def death(self) -> str | None:
        """Why the engine is gone for good, or None. A dead engine never comes back: replace the process."""
        ...

    def generate(self, request: EngineRequest, take: Take = leave) -> AsyncGenerator[Event, None]:
        """Started, then deltas of the choices mixed, then Ended.

        A delta is offered to `take` in the step that made it if the reader has had everything before it, and is yielded
        if not taken: so the reader's task need not wake for every token.
        Refuses before the engine sees the request (InvalidPrompt, ContextTooLong), also to resume what it cannot.
        Closing the generator early aborts the request and frees its KV; a generator left unclosed keeps its place in
        the engine. What the caller does not read waits in memory, at most max_tokens a choice. Raises EngineDead.
        """
        ...

    async def tokenize(self, prompt: Prompt) -> list[int]:
        """What `generate` would read. Raises InvalidPrompt, EngineDead."""
        ...

    async def detokenize(self, token_ids: list[int]) -> str:
        """Raises InvalidPrompt for ids outside the vocabulary, EngineDead."""
        ...

    async def swap(self, model: Model) -> None:
        """Replaces the weights in place; `info` then names the new version, and no KV of the old one is left.

        Only while nothing runs, and for models that `unfit` has nothing against. A draft model stays as it is. Raises
        SwapFailed, EngineDead.
        """
        ...

    async def stop(self) -> None:
        """Ends what runs with EngineDead and frees everything. Safe to call twice, and before `start`."""
        ...
