"""Fields that would change the answer and that Tidegate cannot honour, and what to use instead, in one place.

A row has a field's path without positions in arrays. Every other field that the model of a request does not have is
left out of the request (`ignored_fields.py`).
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from services.gateway.openai.fields import MAX_CHOICES
from services.shared.errors import InvalidRequest

Test = Callable[[Any], bool]


def _asks(value: Any) -> bool:
    """Whether a value asks for anything: null, false and what is empty do not."""
    return value is not None and value is not False and not (isinstance(value, str | list | dict) and not value)


def _is_false(value: Any) -> bool:
    return value is False


def _is_not_one(value: Any) -> bool:
    return value is not None and value != 1


def _is_not_text(modalities: Any) -> bool:
    return _asks(modalities) and modalities != ["text"]


def _has_content(prediction: Any) -> bool:
    return bool(prediction.get("content")) if isinstance(prediction, dict) else _asks(prediction)


def _is_image(kind: Any) -> bool:
    return bool(kind == "image")


def _is_fetched(kind: Any) -> bool:
    return kind in ("base64", "url", "file")


def _is_hosted(kind: Any) -> bool:
    return isinstance(kind, str) and kind not in ("function", "custom", "allowed_tools")


def _is_too_many(choices: Any) -> bool:
    return isinstance(choices, int) and choices > MAX_CHOICES


@dataclass(frozen=True, slots=True)
class Unsupported:
    """Why a field is refused.

    Attributes:
        instead: what to use in its place, as a sentence.
        asks: whether a value asks for what cannot be done.
    """

    instead: str
    asks: Test = _asks

    def error(self, param: str) -> InvalidRequest:
        """Returns the error that refuses the field. param: its path in the request."""
        message = f"Unsupported parameter: '{param}'. {self.instead}"
        return InvalidRequest(message, param=param, code="unsupported_parameter")

    def value_error(self, param: str) -> InvalidRequest:
        """Returns the error that refuses a value of the field. param: its path in the request."""
        message = f"Unsupported value for '{param}'. {self.instead}"
        return InvalidRequest(message, param=param, code="unsupported_value")


def _use(field: str) -> Unsupported:
    return Unsupported(f"Use '{field}' instead.")


_ONLY_TEXT = 'Answers are text: it can only be ["text"].'
_TEXT_ONLY = Unsupported("Answers are text: leave it out.")
_NO_IMAGES = Unsupported("The model reads text only: put what the image shows into a block of text.", _is_image)
_NO_FILES = Unsupported(
    "Documents are read as text only: use the source type 'text' with the document's text.", _is_fetched
)
_NOT_STORED = Unsupported("Only responses can continue what is stored: use 'messages'.")
_NO_PREFIX = Unsupported("An answer is always a message of its own: leave it out.")
_ONLY_CHAT = Unsupported("Only chat completions have it: leave it out, or use /v1/chat/completions.")
_ONLY_COMPLETIONS = Unsupported(
    "Only chat completions and completions have it: leave it out, or use one of these endpoints."
)

UNSUPPORTED: dict[str, Unsupported] = {
    # What OpenAI replaced.
    "functions": _use("tools"),
    "function_call": _use("tool_choice"),
    # What vLLM replaced.
    "guided_json": _use("structured_outputs.json"),
    "guided_regex": _use("structured_outputs.regex"),
    "guided_choice": _use("structured_outputs.choice"),
    "guided_grammar": _use("structured_outputs.grammar"),
    "guided_json_object": _use("structured_outputs.json_object"),
    "structural_tag": _use("structured_outputs.structural_tag"),
    # What only other models or other engines can do.
    "audio": _TEXT_ONLY,
    "modalities": Unsupported(_ONLY_TEXT, _is_not_text),
    "prediction": Unsupported("Drafts of the answer are not taken: leave it out.", _has_content),
    "use_beam_search": Unsupported("Use 'n' and 'temperature' instead."),
    "length_penalty": Unsupported("It needs beam search: leave it out.", _is_not_one),
    "logits_processors": _use("logit_bias"),
    "prompt_embeds": _use("prompt"),
    "chat_template": Unsupported("The model's own chat template is used: leave it out."),
    "documents": Unsupported("Only chat completions have them: put their text into the request."),
    "chat_template_kwargs": _ONLY_CHAT,
    "continue_final_message": _ONLY_CHAT,
    "add_generation_prompt": Unsupported("Only chat completions have it.", _is_false),
    "add_special_tokens": _ONLY_COMPLETIONS,
    "spaces_between_special_tokens": Unsupported("It can only be true.", _is_false),
    "truncate_prompt_tokens": _ONLY_COMPLETIONS,
    "truncation_side": _ONLY_COMPLETIONS,
    "prompt_logprobs": _ONLY_COMPLETIONS,
    "return_token_ids": _ONLY_COMPLETIONS,
    **dict.fromkeys(("features", "content_parts"), Unsupported("The model reads tokens of text only: leave it out.")),
    "ec_transfer_params": Unsupported("The cluster itself moves requests between workers: leave it out."),
    "return_tokens_as_token_ids": _use("return_token_ids"),
    "kv_transfer_params": Unsupported("The cluster itself moves requests between workers: leave it out."),
    "suffix": Unsupported("Only completions have it: leave it out, or use /v1/completions."),
    # What is stored elsewhere.
    "conversation": _NOT_STORED,
    "previous_response_id": _NOT_STORED,
    # Fields of other endpoints. Each row is read only for requests that do not have the field.
    "n": Unsupported("There is one answer: send several requests.", _is_not_one),
    "best_of": Unsupported("Use 'n' instead.", _is_not_one),
    "echo": Unsupported("Use /v1/completions instead."),
    "prompt": _use("messages"),
    "input": _use("messages"),
    "messages": Unsupported("Use 'input' for responses, 'prompt' for completions, or /v1/chat/completions."),
    "instructions": Unsupported("Use a message with the role 'system' instead."),
    "system": Unsupported("Use a message with the role 'system' instead."),
    "max_tokens": _use("max_output_tokens"),
    "max_completion_tokens": Unsupported("Use 'max_output_tokens' for responses, else 'max_tokens'."),
    "max_output_tokens": _use("max_tokens"),
    "response_format": Unsupported("Use 'text.format' for responses, and 'output_config.format' for messages."),
    "tools": Unsupported("Use /v1/chat/completions instead."),
    "stop_sequences": _use("stop"),
    # Fields within others.
    "messages[].prefix": _NO_PREFIX,
    "messages[].partial": _NO_PREFIX,
    "response_format.schema": Unsupported("Use the type 'json_schema' and 'response_format.json_schema' instead."),
}
"""Fields that the model of a request does not have."""

UNSUPPORTED_VALUES: dict[str, Unsupported] = {
    "modalities": Unsupported(_ONLY_TEXT),
    "tool_choice.type": Unsupported("No such tool is served here: use 'auto', or name a function.", _is_hosted),
    "n": Unsupported(f"It can be at most {MAX_CHOICES}: send several requests.", _is_too_many),
    "messages[].content[].type": _NO_IMAGES,
    "messages[].content[].content[].type": _NO_IMAGES,
    "messages[].content[].source.type": _NO_FILES,
    "messages[].content[].content[].source.type": _NO_FILES,
    "messages[].audio": _TEXT_ONLY,
    "messages[].function_call": _use("tool_calls"),
}
"""Fields that the model of a request has, with fewer values than clients send."""
