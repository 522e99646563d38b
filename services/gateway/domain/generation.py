"""A generation: what the cluster has to do for one request. REST and gRPC requests both become this form."""

from dataclasses import dataclass

from services.gateway.domain.account import Caller
from services.gateway.domain.catalog import Model
from services.gateway.domain.prompt import Cost
from services.shared.classes import ServiceClass
from tidegate.worker.v1 import worker_pb2

TextualPrompt = worker_pb2.ChatPrompt | worker_pb2.TokenIds | str
"""What a model continues."""
Prompt = TextualPrompt | worker_pb2.Inputs


@dataclass(frozen=True, slots=True)
class Shown:
    """What an answer shows beyond what all answers show.

    Args:
        token_ids: the token ids of prompt and answer.
        prompt_logprobs: log probabilities of the prompt, apart from those of the answer.
        echo_logprobs: log probabilities of the prompt, before those of the answer.
        continuous_usage: each event has the token counts so far.
        best: shows only so many choices, those of the highest log probability a token; 0: all.
        hides_logprobs: the log probabilities of the answer were asked for only to find the best choices.
    """

    token_ids: bool = False
    prompt_logprobs: bool = False
    echo_logprobs: bool = False
    continuous_usage: bool = False
    best: int = 0
    hides_logprobs: bool = False


PLAIN = Shown()


@dataclass(frozen=True, slots=True)
class FieldNames:
    """What an API calls the fields that an error of a worker may be about.

    Args:
        prompt: what the model reads.
        limit: the most tokens of an answer.
    """

    prompt: str = "prompt"
    limit: str = "max_tokens"

    def of(self, param: str) -> str | None:
        """Returns the API's name of a parameter that a worker names; None for none."""
        return {"prompt": self.prompt, "messages": self.prompt, "max_tokens": self.limit}.get(param, param) or None


@dataclass(frozen=True, slots=True)
class Generation:
    """One validated request. It never changes, whatever becomes of its attempts.

    Prompt and sampling are the worker's own messages: the cluster has no second form of them.

    Args:
        id: made by the gateway; the only name used inside the cluster. Clients' own ids are never used there.
        created: seconds since 1970.
        tier_asked: the service tier as the client named it.
        service_class: the class that the request is queued in.
        cost: estimated tokens.
        block_hashes: the prompt as a chain of blocks (prompt.py).
        cache_salt: see CacheSalt.
        include_usage: a streamed answer ends with its usage.
        timeout_s: from the request to the end of its answer.
        shown: what the answer shows beside its text.
        fields: what the client's API calls them.
        wants_canary: it may have the version that is on trial first, and asks for it.
        traceparent: W3C trace context of the client; empty: it sent none.
    """

    id: str
    created: int
    model: Model
    prompt: Prompt
    sampling: worker_pb2.Sampling
    tier_asked: str
    service_class: ServiceClass
    cost: Cost
    block_hashes: list[int]
    caller: Caller
    cache_salt: str
    stream: bool
    include_usage: bool
    timeout_s: float
    shown: Shown = PLAIN
    fields: FieldNames = FieldNames()
    traceparent: str = ""
    wants_canary: bool = False
