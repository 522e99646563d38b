"""Body of POST /v1/chat/completions."""

from functools import cached_property
from typing import Annotated, Any, Literal, Self

import orjson
from pydantic import Field, model_validator

from services.gateway.openai.fields import Effort, Hint, Tokens
from services.gateway.openai.messages import Messages, check_tool_calls, messages_json
from services.gateway.openai.sampling import SamplingRequest
from services.gateway.openai.structured_output import ResponseFormat, set_response_format
from services.gateway.openai.template_options import Documents, TemplateOptions
from services.gateway.openai.tools import (
    Choice,
    NamedTool,
    ToolChoice,
    Tools,
    argument_schemas,
    check_choice,
    chosen,
    forces_call,
    narrow,
    template_tools,
)
from tidegate.worker.v1 import worker_pb2


class ChatCompletionRequest(SamplingRequest, TemplateOptions):
    """Body of POST /v1/chat/completions."""

    messages: Messages
    max_completion_tokens: Tokens | None = None
    logprobs: bool | None = None
    top_logprobs: Annotated[int, Field(ge=0, le=20)] | None = None
    tools: Tools | None = None
    tool_choice: ToolChoice | None = None
    parallel_tool_calls: bool | None = None
    response_format: ResponseFormat | None = None
    reasoning_effort: Hint[Effort] = None
    documents: Documents | None = None
    # The value that describes what Tidegate does anyway.
    modalities: list[Literal["text"]] | None = None
    store: Hint[Literal[False]] = None
    verbosity: Hint[Literal["medium"]] = None

    @property
    def token_limit(self) -> int | None:
        """Most tokens that a choice may have; None: as many as fit."""
        return self.max_completion_tokens or self.max_tokens

    @cached_property
    def argument_schemas(self) -> dict[str, dict[str, Any]]:
        """Schemas that bind the arguments of calls, by the functions' names."""
        if not self.tools or self.tool_choice == "none":
            return {}
        return argument_schemas(
            (tool.function for tool in self.tools),
            forced=forces_call(self.tool_choice),
            chosen=chosen(self.tool_choice),
            place="tools[{}].function.parameters",
        )

    @model_validator(mode="after")
    def _chat_fields_agree(self) -> Self:
        check_tool_calls(self.messages)
        check_choice(self.tools, self.tool_choice)
        self.check_prompt_end(self.messages[-1].role)
        if self.top_logprobs is not None and not self.logprobs:
            raise ValueError("top_logprobs: needs logprobs to be true")
        if self.response_format and self.structured_outputs:
            raise ValueError("structured_outputs: cannot be given together with response_format")
        if self.structured_outputs and forces_call(self.tool_choice):
            raise ValueError("structured_outputs: the answer must be a call of a function, by tool_choice; use 'auto'")
        _ = self.argument_schemas  # a schema that cannot bind is refused here
        return self

    def sampling(self) -> worker_pb2.Sampling:
        """Returns how the engine is to sample; a field that is absent stays absent."""
        sampling = super().sampling()
        if self.logprobs:
            sampling.top_logprobs = self.top_logprobs or 0
        # A forced call is all that the answer has, and its arguments have a form of their own.
        if self.response_format and not forces_call(self.tool_choice):
            set_response_format(sampling, self.response_format)
        return sampling

    def worker_prompt(self) -> worker_pb2.ChatPrompt:
        """Returns the prompt as workers take it: messages and tools, which they render with the chat template."""
        kept, choice = narrow(self.tools, self.tool_choice)
        tools = template_tools(kept)
        prompt = worker_pb2.ChatPrompt(
            messages_json=messages_json(self.messages),
            tools_json=orjson.dumps(tools) if tools else b"",
            tool_choice_json=_tool_choice_json(choice),
            parallel_tool_calls=self.parallel_tool_calls is not False,
            reasoning_effort=self.reasoning_effort or "",
            argument_schemas_json=orjson.dumps(self.argument_schemas) if self.argument_schemas else b"",
            documents_json=orjson.dumps(self.documents) if self.documents else b"",
        )
        self.set_template(prompt)
        return prompt


def _tool_choice_json(choice: Choice | None) -> bytes:
    if choice is None:
        return b""
    return orjson.dumps(choice.model_dump() if isinstance(choice, NamedTool) else choice)
