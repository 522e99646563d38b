"""Where Tidegate differs from a plain `vllm serve` on purpose, and why. The table in docs/api.md is made of this.

A row names the checks whose verdicts differ. The suite fails where a check's verdict differs and no row names it, and
where a row names a check whose verdict no longer differs.
"""

from collections.abc import Mapping
from dataclasses import dataclass

from tests.conformance.table import Outcomes


@dataclass(frozen=True, slots=True)
class Difference:
    """One row of the table.

    Attributes:
        what: the subject.
        vllm: what `vllm serve` does.
        tidegate: what Tidegate does.
        reason: why.
        checks: the checks whose verdicts differ.
    """

    what: str
    vllm: str
    tidegate: str
    reason: str
    checks: tuple[str, ...]


DIFFERENCES: tuple[Difference, ...] = (
    Difference(
        "`HEAD`",
        "405",
        "wherever `GET` is",
        "probes and proxies send it",
        ("server.head",),
    ),
    Difference(
        "HTTP/1.0",
        "chunk framing, which HTTP/1.0 does not have",
        "an answer that ends with its connection",
        "old proxies speak it",
        ("server.http_1_0",),
    ),
    Difference(
        "compressed bodies",
        "400",
        "gzip, deflate and zstd, within bounds",
        "long prompts travel compressed",
        ("server.compressed_bodies",),
    ),
    Difference(
        "a key as `x-api-key`",
        "401",
        "accepted",
        "Anthropic's clients send it so",
        ("server.keys_as_x_api_key",),
    ),
    Difference(
        "`x-request-id`",
        "only with an option",
        "in every answer",
        "a report of a fault names its request",
        ("server.request_ids",),
    ),
    Difference(
        "streams and caches",
        "no header",
        "`cache-control: no-cache`",
        "no proxy may keep a stream",
        ("chat_streams.not_cached",),
    ),
    Difference(
        "errors of paths, methods and keys",
        "`detail`, or `error` as a text",
        "OpenAI's error object; a path that is almost right is told the right one",
        "OpenAI's clients read one shape",
        (
            "server.a_missing_key_has_an_error_object",
            "server.unknown_path",
            "server.wrong_method",
            "server.v1_twice",
        ),
    ),
    Difference(
        "`code` and `type` of errors",
        "the status as a number; names of vLLM's classes",
        "OpenAI's, and Anthropic's for Messages",
        "clients decide by them",
        (
            "errors.shape",
            "errors.type_of_errors",
            "errors.the_code_of_long_prompts",
            "models.unknown_models_have_openais_code",
            "messages.errors",
        ),
    ),
    Difference(
        "words and `param` of errors",
        "those of the library that validates; `param` not always",
        "plain sentences; the field is named",
        "people read them",
        (
            "errors.plain_words",
            "errors.names_the_field",
        ),
    ),
    Difference(
        "a request that names no model",
        "the model that is served",
        "400",
        "a cluster serves several models",
        ("errors.no_model",),
    ),
    Difference(
        '`"5"` for a number',
        "5",
        "400, as in OpenAI's reference",
        "a guess may be wrong",
        ("errors.types_are_not_guessed",),
    ),
    Difference(
        "fields that cannot be honoured: `functions`, `audio`, `guided_...`",
        "left out",
        "400 that says what to use instead",
        "they would change the answer",
        (
            "errors.replaced_fields",
            "errors.answers_as_sound",
            "structured.the_old_names",
        ),
    ),
    Difference(
        "fields that are left out",
        "not told",
        "named in `x-tidegate-ignored`",
        "nobody should have to guess",
        ("chat.unknown_fields_are_named",),
    ),
    Difference(
        "`/v1/models/{model}`",
        "no",
        "yes",
        "OpenAI's clients call it",
        ("models.shows_one",),
    ),
    Difference(
        "roles that only a template knows",
        "accepted",
        "400",
        "a misspelt role would change the prompt unnoticed",
        ("chat.roles_of_ones_own",),
    ),
    Difference(
        "`echo` of a chat",
        "yes",
        "400",
        "the client has the text that it sent",
        ("chat.echo",),
    ),
    Difference(
        "`use_beam_search`",
        "yes",
        "400",
        "beams cannot be continued on another worker",
        ("chat.beam_search",),
    ),
    Difference(
        "`return_tokens_as_token_ids`",
        "tokens are named by their ids",
        "400: use `return_token_ids`",
        "one field for it",
        ("chat.token_ids_instead_of_texts",),
    ),
    Difference(
        "`n` at temperature 0",
        "400",
        "answers that are alike",
        "OpenAI takes it",
        ("chat.several_choices_at_temperature_zero",),
    ),
    Difference(
        "stop strings",
        "4",
        "16",
        "editors send more than 4",
        ("chat.sixteen_stops",),
    ),
    Difference(
        "arguments of a forced call",
        "any JSON value",
        "an object that is valid under the schema",
        "[docs](#tools)",
        (
            "chat_tools.named_function",
            "chat_tools.required",
            "chat_tools.streamed",
            "chat_tools.without_parameters",
            "chat_tools.same_names_in_definitions",
            "responses.forced_calls",
            "responses.forced_calls_streamed",
            "messages.forced_calls",
            "messages.forced_calls_streamed",
        ),
    ),
    Difference(
        "`finish_reason` of a named function",
        "`stop`",
        "`tool_calls`",
        "the answer is a call",
        ("chat_tools.named_function_ends_as_a_call",),
    ),
    Difference(
        "`tools: []`",
        "400",
        "counts as none",
        "many clients send it",
        ("chat_tools.an_empty_list",),
    ),
    Difference(
        "`max_tokens: 0` with `echo`",
        "one token is counted",
        "none",
        "none is generated",
        ("completions.echo_alone",),
    ),
    Difference(
        "`min_tokens` above 16 without `max_tokens`, in completions",
        "400",
        "so many tokens",
        "only a default is in the way",
        ("completions.min_tokens_beyond_the_default",),
    ),
    Difference(
        "properties of a response",
        "five that Open Responses requires are missing",
        "all",
        "clients with schemas fail",
        ("responses.required_properties",),
    ),
    Difference(
        "stored responses",
        "only with an environment variable; else 404",
        "kept for 30 days, by tenant; also made in the background",
        "clients continue by id, at any gateway",
        (
            "responses.stored",
            "responses.continued",
            "responses.background",
        ),
    ),
    Difference(
        "conversations",
        "no",
        "yes",
        "[docs](#conversations)",
        (
            "conversations.made",
            "conversations.begun_with_items",
            "conversations.relabelled",
            "conversations.deleted",
            "conversations.unknown_conversations",
            "conversations.items_are_added",
            "conversations.items_come_in_pages",
            "conversations.items_are_shown_and_deleted",
            "conversations.no_items",
            "conversations.responses_continue_and_add",
            "conversations.streams_add",
            "conversations.not_with_a_previous_response",
        ),
    ),
    Difference(
        "Anthropic's own tools",
        "400",
        "left out and named",
        "Claude Code sends them",
        ("messages.hosted_tools",),
    ),
    Difference(
        "ids of messages",
        "`chatcmpl-...`",
        "`msg_...`",
        "as Anthropic's",
        ("messages.ids_begin_with_msg",),
    ),
    Difference(
        "an answer that the client has begun, in Messages",
        "a new turn",
        "400",
        "it would not be continued",
        ("messages.begun_answers",),
    ),
    Difference(
        "`/tokenizer_info`",
        "only with an option",
        "with an admin key",
        "it shows the chat template, and what else the operator put there",
        ("tokens.about_the_tokenizer",),
    ),
    Difference(
        "`/inference/v1/generate`",
        "only with an option",
        "yes",
        "clients that bring their own tokens need it",
        ("tokens.generates",),
    ),
    Difference(
        "`/detokenize` of an unknown token",
        "an empty text",
        "400",
        "the client has another tokenizer",
        ("tokens.tokens_beyond_the_vocabulary",),
    ),
    Difference(
        "files and batches",
        "no",
        "yes",
        "[docs](#files-and-batches)",
        (
            "files.round_trip",
            "files.unknown_files",
            "files.expiry",
            "batches.completes",
            "batches.says_which_line_is_wrong",
            "batches.lists",
            "batches.unknown_batches",
        ),
    ),
)


def named() -> frozenset[str]:
    """Returns the checks that the table names."""
    return frozenset(check for difference in DIFFERENCES for check in difference.checks)


def unnamed(ours: Outcomes, vllm: Mapping[str, str]) -> dict[str, str]:
    """Returns the checks whose verdicts differ though no row names them, each with both verdicts.

    Args:
        ours: the outcomes of Tidegate.
        vllm: the verdicts of vLLM.
    """
    return {name: both for name, both in _differing(ours, vllm).items() if name not in named()}


def outdated(ours: Outcomes, vllm: Mapping[str, str]) -> list[str]:
    """Returns the checks that a row names though their verdicts do not differ; one that was left out says nothing."""
    known = {name for name, outcome in ours.items() if outcome.verdict != "left out"}
    return sorted((named() & known) - set(_differing(ours, vllm)))


def _differing(ours: Outcomes, vllm: Mapping[str, str]) -> dict[str, str]:
    return {
        name: f"tidegate {outcome.verdict} ({outcome.detail}), vllm {vllm.get(name)}"
        for name, outcome in ours.items()
        if outcome.verdict not in ("left out", vllm.get(name))
    }
