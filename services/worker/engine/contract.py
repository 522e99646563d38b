"""The contract between a worker and its engine: requests, events, errors. Nothing here depends on gRPC or vLLM."""

from collections.abc import AsyncGenerator, Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, Protocol

from services.shared.manifests import Manifest
from services.worker.engine.node import Node

FinishReason = Literal["stop", "length", "tool_calls", "content_filter"]

# Tokens in one delta, at most.
MAX_DELTA_TOKENS = 8


# ---- requests ----


@dataclass(frozen=True, slots=True)
class ChatPrompt:
    """The OpenAI fields that a chat template reads, decoded from JSON and already validated by the gateway.

    Attributes:
        argument_schemas: JSON schemas that bind the arguments of calls, by the functions' names. A forced call has one
            for each function that it may choose.
        documents: For a template that reads documents; None if the request has none.
    """

    messages: list[dict[str, Any]]
    tools: list[dict[str, Any]] | None = None
    tool_choice: str | dict[str, Any] | None = None
    parallel_tool_calls: bool = True
    reasoning_effort: str | None = None
    argument_schemas: Mapping[str, dict[str, Any]] | None = None
    add_generation_prompt: bool = True
    continue_final_message: bool = False
    template_kwargs: Mapping[str, Any] = field(default_factory=dict)
    documents: list[dict[str, str]] | None = None

    @property
    def forces_call(self) -> bool:
        """Whether the answer must be a call of a function."""
        return self.tool_choice is not None and self.tool_choice not in ("auto", "none")


@dataclass(frozen=True, slots=True)
class TextPrompt:
    """A prompt that the engine tokenizes as it is, without a chat template."""

    text: str


@dataclass(frozen=True, slots=True)
class TokenPrompt:
    """A prompt that is already tokenized."""

    ids: tuple[int, ...]


Prompt = ChatPrompt | TextPrompt | TokenPrompt


@dataclass(frozen=True, slots=True)
class Structure:
    """A structure that the answer must have. `text` is the schema, regex, grammar or tag; empty for json_object."""

    kind: Literal["json_schema", "regex", "grammar", "json_object", "structural_tag"]
    text: str = ""


@dataclass(frozen=True, slots=True)
class Sampling:
    """How tokens are chosen and when an answer ends; names and ranges as in the OpenAI API and vLLM.

    Attributes:
        max_tokens: None means as many as the context has room for; 0 means none, for the sake of an echo.
        n: Number of choices.
        top_logprobs: None means no log probabilities; 0 means those of the chosen tokens only.
        echo: The answer's text begins with the prompt.
        include_stop: The text ends with the stop string or stop token that ended it.
        skip_special_tokens: The text does not show special tokens.
        bad_words: Texts that are never generated.
        allowed_token_ids: The only tokens that may be generated; empty means all.
        return_prompt_token_ids: Started has the token ids of the prompt.
        prompt_logprobs: Started has the log probabilities of the prompt, with so many of the likeliest tokens.
        max_tokens_may_shrink: An answer may have fewer than max_tokens where the context has no room for more.
        add_special_tokens: Whether the tokenizer adds its own tokens; None: to a text, but not to a chat.
        truncate_prompt_tokens: Keeps only so many tokens of the prompt; -1: as many as leave room for the answer; 0:
            all.
        keep_prompt_start: Truncation keeps the first tokens; else it keeps the last ones.
        suffix: The answer goes between the text of the prompt and this one; empty: it follows the prompt.
    """

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
    include_stop: bool = False
    skip_special_tokens: bool = True
    bad_words: tuple[str, ...] = ()
    allowed_token_ids: tuple[int, ...] = ()
    return_prompt_token_ids: bool = False
    prompt_logprobs: int | None = None
    max_tokens_may_shrink: bool = False
    add_special_tokens: bool | None = None
    truncate_prompt_tokens: int = 0
    keep_prompt_start: bool = False
    suffix: str = ""


@dataclass(frozen=True, slots=True)
class ResumePoint:
    """Where an earlier attempt of one choice stopped.

    Attributes:
        token_ids: The tokens that were generated so far.
        text_offset: `text_end` of the last delta that the client has.
        finished: The choice has ended; the client has all of it.
    """

    token_ids: tuple[int, ...]
    text_offset: int
    finished: bool = False


@dataclass(frozen=True, slots=True)
class Adapter:
    """A verified version of a LoRA adapter on local disk, for the model version that the engine runs.

    Attributes:
        version: SHA-256 of its manifest.
        number: Names it inside the engine. Each load has a number of its own, so that no version is taken for another.
    """

    name: str
    version: str
    folder: Path
    number: int


@dataclass(frozen=True, slots=True)
class EngineRequest:
    """One request to the engine.

    Attributes:
        request_id: Unique among the running requests.
        prompt: What the engine continues.
        sampling: How tokens are chosen.
        resume: For each choice that continues an earlier attempt, where that stopped.
        cache_salt: Requests share cached KV only if they have the same salt.
        priority: 0 goes first.
        adapter: The adapter that answers, which the engine has; None: the model itself.
        trace_headers: W3C trace context, for engines that make spans; None: the request is not traced.
    """

    request_id: str
    prompt: Prompt
    sampling: Sampling = Sampling()
    resume: Mapping[int, ResumePoint] = field(default_factory=dict)
    cache_salt: str = ""
    priority: int = 0
    adapter: Adapter | None = None
    trace_headers: Mapping[str, str] | None = None


@dataclass(frozen=True, slots=True)
class EmbedRequest:
    """Texts of one request that become vectors.

    Attributes:
        request_id: Unique among the running requests.
        inputs: The texts.
        dimensions: Length of the vectors; None: that of the model's own.
        sampling: Of it, only what is said of the prompt counts.
        done: Indexes of the inputs whose vectors the client has already.
        cache_salt, priority, adapter, trace_headers: As in EngineRequest.
    """

    request_id: str
    inputs: tuple[TextPrompt | TokenPrompt, ...]
    dimensions: int | None = None
    sampling: Sampling = Sampling()
    done: frozenset[int] = frozenset()
    cache_salt: str = ""
    priority: int = 0
    adapter: Adapter | None = None
    trace_headers: Mapping[str, str] | None = None

    @property
    def missing(self) -> list[int]:
        """Indexes of the inputs that are to be embedded."""
        return [index for index in range(len(self.inputs)) if index not in self.done]


# ---- events ----


@dataclass(frozen=True, slots=True)
class Started:
    """The first event of a request.

    Attributes:
        prompt_tokens: Length of the prompt.
        cached_tokens: Prompt tokens whose KV was already in the cache.
        resumable: Another engine with the same weights can continue this answer exactly, wherever it stops.
        prompt_token_ids: Only if the request asks for them.
        prompt_logprobs: One for each token of the prompt, if the request asks for them. Nothing comes before the first
            token, so the entry of that one has no probability: its rank is 0.
    """

    prompt_tokens: int
    cached_tokens: int
    resumable: bool = False
    prompt_token_ids: tuple[int, ...] = ()
    prompt_logprobs: "tuple[TokenLogprob, ...]" = ()


@dataclass(frozen=True, slots=True)
class TopLogprob:
    """One of the likeliest tokens at a position; `logprob` is the natural logarithm of its probability."""

    token_id: int
    token: bytes
    logprob: float


@dataclass(frozen=True, slots=True)
class TokenLogprob:
    """The log probability of the chosen token, and the likeliest tokens at its position.

    Attributes:
        rank: 1 is the likeliest; 0 means not known.
    """

    token_id: int
    token: bytes
    logprob: float
    top: tuple[TopLogprob, ...] = ()
    rank: int = 0


@dataclass(frozen=True, slots=True)
class ToolCallDelta:
    """A new part of one tool call; `arguments` is a piece of JSON text that the client appends."""

    index: int
    id: str = ""
    name: str = ""
    arguments: str = ""


@dataclass(slots=True)
class Delta:
    """New tokens and text of one choice. Never change one: it is not frozen only because that would cost every token.

    Attributes:
        choice: Index of the choice.
        text: New text for the client.
        token_ids: New tokens, also those whose text is held back because it may become a stop string.
        reasoning: New reasoning text; it comes before `text`.
        tool_calls: New parts of tool calls.
        logprobs: One entry for each new token, if the request asked for them.
        finish_reason: Set in the last delta of the choice.
        stop_reason: The stop string, or the id of the stop token, that ended the choice.
        text_from: `text_end` of the delta before.
        text_end: Characters of the decoded answer so far, with markup that parsers remove, without an echoed prompt.
        embedding: The vector of an input, whose index is `choice`: 32-bit floats, little-endian.
    """

    choice: int
    text: str = ""
    token_ids: tuple[int, ...] = ()
    reasoning: str = ""
    tool_calls: tuple[ToolCallDelta, ...] = ()
    logprobs: tuple[TokenLogprob, ...] = ()
    finish_reason: FinishReason | None = None
    stop_reason: str | int = ""
    text_from: int = 0
    text_end: int = 0
    embedding: bytes = b""


@dataclass(frozen=True, slots=True)
class Usage:
    """Token counts over all choices; completion_tokens also counts the tokens of earlier attempts.

    Attributes:
        accepted_draft_tokens: Of speculative decoding; of choices that no stop string ended.
    """

    prompt_tokens: int
    cached_tokens: int
    completion_tokens: int
    reasoning_tokens: int = 0
    accepted_draft_tokens: int = 0


@dataclass(frozen=True, slots=True)
class Ended:
    """The last event of a request."""

    usage: Usage


Event = Started | Delta | Ended

# Returns whether the reader has taken the delta, in the engine step that made it. It must neither block nor raise.
Take = Callable[[Delta], bool]


def leave(delta: Delta) -> bool:
    """Takes nothing, so every delta is yielded."""
    return False


# ---- errors ----


class EngineError(Exception):
    """Base class of all errors of an engine."""


class InvalidPrompt(EngineError):
    """The request is wrong, and every engine would refuse it. `param` names the OpenAI parameter."""

    def __init__(self, message: str, param: str = "") -> None:
        super().__init__(message)
        self.param = param


class ContextTooLong(InvalidPrompt):
    """Prompt and answer are longer than the context."""


class EngineDead(EngineError):
    """The engine is gone, and all its running requests with it."""


class AdapterRefused(EngineError):
    """The engine cannot apply this adapter. It has not kept any of it."""


class SwapFailed(EngineError):
    """The weights were not replaced.

    If `intact` is true, the old weights are still there. Else nothing may run until a swap succeeds.
    """

    def __init__(self, message: str, *, intact: bool) -> None:
        super().__init__(message)
        self.intact = intact


# ---- the engine ----


@dataclass(frozen=True, slots=True)
class EngineInfo:
    """What a started engine is.

    Attributes:
        architecture: Name of the model's class.
        model_version: SHA-256 of the loaded version's manifest.
        context_tokens: Longest prompt and answer together.
        max_running: Sequences that run together.
        kv_tokens: Tokens that fit into the KV cache.
        vocab_size: Number of token ids.
        prefill_tokens_per_s: Prompt tokens per second when the engine does nothing else; 0 means not known.
        dimensions: Length of its vectors; 0: it generates text.
        draft_version: SHA-256 of the manifest of the speculator that drafts; "" for none.
    """

    architecture: str
    model_version: str
    context_tokens: int
    max_running: int
    kv_tokens: int
    vocab_size: int
    prefill_tokens_per_s: int = 0
    dimensions: int = 0
    draft_version: str = ""


@dataclass(frozen=True, slots=True)
class EngineLoad:
    """What an engine does at one moment.

    Attributes:
        running: Sequences that are computed.
        waiting: Sequences that wait for a place.
        kv_tokens_used: Tokens in the KV cache that running sequences use.
        steps: Steps since the start; it never decreases.
        generated_tokens: Tokens since the start; it never decreases.
        drafted: Draft tokens since the start that were checked, by their position in the draft, from the first; empty
            without speculative decoding.
        accepted: Those of them that were accepted.
        drafts: Whether the next step drafts; None: nothing decides about that.
        switched_on: How often drafts were switched on since the start, for some size of the batch.
        switched_off: How often they were switched off.
    """

    running: int = 0
    waiting: int = 0
    kv_tokens_used: int = 0
    steps: int = 0
    generated_tokens: int = 0
    drafted: tuple[int, ...] = ()
    accepted: tuple[int, ...] = ()
    drafts: bool | None = None
    switched_on: int = 0
    switched_off: int = 0


@dataclass(frozen=True, slots=True)
class Drafter:
    """A verified version of a speculator on local disk: a draft model or head."""

    folder: Path
    manifest: Manifest


@dataclass(frozen=True, slots=True)
class Model:
    """A verified model version on local disk, and its speculator, if any."""

    folder: Path
    manifest: Manifest
    draft: Drafter | None = None


def unfit(old: Manifest, new: Manifest) -> str | None:
    """Returns why an engine that was started on `old` cannot swap to the weights of `new`, or None."""
    for what in ("model", "kind", "architecture", "vocab_size", "tokenizer_sha256"):
        before, after = getattr(old, what), getattr(new, what)
        if before != after:
            return f"{what} is {after}, this engine runs {before}: only workers that start on it can serve this version"
    return None


class Engine(Protocol):
    """Runs many requests in steps. Call all methods from one event loop; `load` and `info` never block."""

    async def start(self, model: Model, node: Node | None = None) -> None:
        """Loads the model. This may take minutes, but does not block the event loop.

        Args:
            model: The staged model.
            node: The first of the worker's nodes, if it has several. The others start their parts (part.py) meanwhile.

        Raises:
            EngineDead: The engine could not start.
        """
        ...

    @property
    def info(self) -> EngineInfo:
        """Describes the engine and the loaded version; available after `start`."""
        ...

    def load(self) -> EngineLoad:
        """Returns what the engine does now."""
        ...

    @property
    def death(self) -> str | None:
        """Why the engine is gone for good, or None. A dead engine never recovers: replace the process."""
        ...

    def generate(self, request: EngineRequest, take: Take = leave) -> AsyncGenerator[Event, None]:
        """Yields Started, then the deltas of all choices mixed, then Ended.

        Closing the generator early aborts the request and frees its KV. An open generator keeps its place in the
        engine. Events that the caller does not read stay in memory, at most max_tokens for each choice.

        Args:
            request: The request.
            take: Is offered each delta in the step that made it, if the reader has had everything before it. A delta
                that it takes is not yielded, so the reader's task need not wake for every token.

        Raises:
            InvalidPrompt: The request is wrong, or it cannot be resumed; the engine has not seen it.
            ContextTooLong: Prompt and answer are longer than the context; the engine has not seen the request.
            EngineDead: The engine is gone.
        """
        ...

    def embed(self, request: EmbedRequest) -> AsyncGenerator[Event, None]:
        """Yields Started, then a delta for each missing input once all of them have their vectors, then Ended.

        So a client never has vectors of two versions. Closing the generator early aborts the request.

        Args:
            request: The request.

        Raises:
            InvalidPrompt: An input is wrong, or this engine generates text.
            ContextTooLong: An input is longer than the context.
            EngineDead: The engine is gone.
        """
        ...

    async def tokenize(self, prompt: Prompt, *, add_special_tokens: bool | None = None) -> list[int]:
        """Returns the token ids that `generate` would read.

        Args:
            prompt: The prompt.
            add_special_tokens: Whether the tokenizer adds its own, such as one for the beginning; None means as
                `generate` does.

        Raises:
            InvalidPrompt: The prompt is wrong.
            EngineDead: The engine is gone.
        """
        ...

    async def detokenize(self, token_ids: list[int]) -> str:
        """Returns the text of token ids.

        Raises:
            InvalidPrompt: An id is outside the vocabulary.
            EngineDead: The engine is gone.
        """
        ...

    def tokenizer_config(self) -> dict[str, Any]:
        """Returns the fields of the tokenizer's tokenizer_config.json, with the chat template that is used.

        Raises:
            EngineDead: The engine is gone.
        """
        ...

    def token_strs(self, token_ids: list[int]) -> list[str]:
        """Returns tokens as the vocabulary writes them.

        Raises:
            EngineDead: The engine is gone.
        """
        ...

    async def add_adapter(self, adapter: Adapter) -> None:
        """Loads an adapter, so that requests may name it. Other requests run on.

        The engine has room for as many adapters as the pool's `max_loaded`; the caller removes one first.

        Raises:
            AdapterRefused: The adapter does not fit this engine.
            EngineDead: The engine is gone.
        """
        ...

    async def remove_adapter(self, adapter: Adapter) -> None:
        """Forgets an adapter that no request uses. It does nothing if the engine does not have it.

        Raises:
            EngineDead: The engine is gone.
        """
        ...

    async def check_swap(self, model: Model) -> None:
        """Checks that the weights can be replaced in place by those of `model`. It changes nothing; requests may run.

        Raises:
            RefusedModel: No engine with these settings could serve the version, not even one that starts on it.
            SwapFailed: They cannot; the message says why, and `intact` is true.
            EngineDead: The engine is gone.
        """
        ...

    async def swap(self, model: Model, *, forget: bool = False) -> None:
        """Replaces the weights in place; then `info` names the new version.

        Call it only while nothing runs. It does `check_swap` first. The speculator stays, and all adapters are
        forgotten. Cached KV belongs to the version that computed it: requests of this version find that of this version
        only, also what it computed before another one was there.

        Args:
            model: The version.
            forget: All cached KV goes, because weights that nobody could prove have computed some of it.

        Raises:
            SwapFailed: The weights were not replaced.
            EngineDead: The engine is gone.
        """
        ...

    async def check_draft_swap(self, drafter: Drafter) -> None:
        """Checks that this speculator can take the place of the present one. It changes nothing; requests may run.

        Raises:
            RefusedModel: No engine with these settings could draft with it, not even one that starts with it.
            SwapFailed: It cannot; the message says why, and `intact` is true.
            EngineDead: The engine is gone.
        """
        ...

    async def swap_draft(self, drafter: Drafter) -> None:
        """Replaces the speculator in place; then `info` names it. Requests run on: they wait meanwhile.

        The weights of the model stay. It does `check_draft_swap` first.

        Raises:
            SwapFailed: The speculator was not replaced. If `intact` is false, the engine drafts with something broken:
                answers are right, and hardly a draft is accepted, until a swap succeeds.
            EngineDead: The engine is gone.
        """
        ...

    async def stop(self) -> None:
        """Fails running requests with EngineDead and frees everything. It may be called twice, and before `start`."""
        ...
