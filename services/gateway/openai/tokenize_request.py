"""Bodies of POST /tokenize and /detokenize, as vLLM's clients know them."""

from typing import Annotated, Any, Self

import orjson
from pydantic import Field, model_validator

from services.gateway.openai.fields import ModelName, Request, Text, TokenId
from services.gateway.openai.messages import Messages, check_tool_calls, messages_json
from services.gateway.openai.template_options import TemplateOptions
from services.gateway.openai.tools import Tools, template_tools
from tidegate.worker.v1 import worker_pb2

MAX_TOKENS = 1_000_000


class TokenizeRequest(TemplateOptions):
    """Either a prompt, or the messages and tools of a chat. A caller that may use one model need not name it."""

    model: ModelName | None = None
    prompt: Annotated[Text, Field(min_length=1)] | None = None
    messages: Messages | None = None
    tools: Tools | None = None
    add_special_tokens: bool | None = None
    return_token_strs: bool | None = None

    @model_validator(mode="after")
    def _one_of_two(self) -> Self:
        if (self.prompt is None) == (self.messages is None):
            raise ValueError("prompt: either a prompt or messages are needed")
        if self.tools and self.messages is None:
            raise ValueError("tools: are only allowed with messages")
        check_tool_calls(self.messages or [])
        if self.messages:
            self.check_prompt_end(self.messages[-1].role)
        return self

    def worker_request(self) -> worker_pb2.TokenizeRequest:
        """Returns the request as workers take it."""
        options: dict[str, Any] = {
            "add_special_tokens": self.add_special_tokens,
            "return_token_strs": bool(self.return_token_strs),
        }
        if self.messages is None:
            return worker_pb2.TokenizeRequest(text=self.prompt or "", **options)
        tools = template_tools(self.tools or ())
        chat = worker_pb2.ChatPrompt(
            messages_json=messages_json(self.messages),
            tools_json=orjson.dumps(tools) if tools else b"",
            parallel_tool_calls=True,
        )
        self.set_template(chat)
        return worker_pb2.TokenizeRequest(chat=chat, **options)


class DetokenizeRequest(Request):
    """Body of POST /detokenize."""

    model: ModelName | None = None
    tokens: Annotated[list[TokenId], Field(min_length=1, max_length=MAX_TOKENS)]
