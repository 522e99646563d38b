"""How a chat becomes a prompt: what the model's own chat template is told beside messages and tools."""

from typing import Annotated, Any

import orjson
from pydantic import AfterValidator, Field

from services.gateway.openai.fields import Request, Text
from tidegate.worker.v1 import worker_pb2

MAX_VARIABLES = 16
MAX_DOCUMENTS = 256
# What templates are called with anyway, and options of the call itself.
RESERVED = frozenset(
    {
        *("messages", "conversation", "tools", "documents", "chat_template", "add_generation_prompt", "tokenize"),
        *("continue_final_message", "padding", "truncation", "max_length", "return_tensors", "return_dict"),
        *("return_assistant_tokens_mask", "tokenizer_kwargs", "load_audio_from_video", "processor_kwargs"),
    }
)


def _free(variables: dict[str, Any]) -> dict[str, Any]:
    if taken := sorted(RESERVED & variables.keys()):
        raise ValueError(f"{taken[0]!r} cannot be set here; the request has its own fields for what templates read")
    return variables


Variable = bool | int | float | Annotated[Text, Field(max_length=1024)] | None
VariableName = Annotated[str, Field(pattern=r"^[A-Za-z_][A-Za-z0-9_]{0,63}$")]
Variables = Annotated[dict[VariableName, Variable], Field(max_length=MAX_VARIABLES), AfterValidator(_free)]


Document = Annotated[dict[Annotated[str, Field(max_length=64)], Text], Field(min_length=1, max_length=16)]
Documents = Annotated[list[Document], Field(max_length=MAX_DOCUMENTS)]
"""Documents as chat templates know them: usually a title and a text each."""


class TemplateOptions(Request):
    """Fields of vLLM's API that chat completions and /tokenize share."""

    add_generation_prompt: bool | None = None
    continue_final_message: bool | None = None
    chat_template_kwargs: Variables | None = None

    def check_prompt_end(self, last_role: str) -> None:
        """Checks how the prompt is to end.

        Args:
            last_role: of the last message.

        Raises:
            ValueError: the fields contradict each other or the messages.
        """
        if not self.continue_final_message:
            return
        if self.add_generation_prompt:
            raise ValueError("continue_final_message: cannot be true together with add_generation_prompt")
        if last_role != "assistant":
            raise ValueError("continue_final_message: needs a last message of the role 'assistant'")

    def set_template(self, prompt: worker_pb2.ChatPrompt) -> None:
        """Writes the fields into a prompt."""
        if self.continue_final_message:
            prompt.continue_final_message = True
        if self.continue_final_message or self.add_generation_prompt is False:
            prompt.no_generation_prompt = True
        if self.chat_template_kwargs:
            prompt.template_kwargs_json = orjson.dumps(self.chat_template_kwargs)
