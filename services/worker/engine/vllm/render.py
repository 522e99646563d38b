"""Renders prompts into token ids with vLLM's renderer, and rejects bad requests before the engine sees them."""

import re
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from pydantic import ValidationError
from vllm.entrypoints.openai.chat_completion.protocol import ChatCompletionRequest
from vllm.entrypoints.openai.completion.protocol import CompletionRequest
from vllm.exceptions import VLLMClientError
from vllm.renderers.hf import resolve_chat_template
from vllm.renderers.online_renderer import OnlineRenderer
from vllm.sampling_params import StructuredOutputsParams

from services.worker.engine.bounds import check_token_ids, context_too_long, kept_prompt_tokens
from services.worker.engine.contract import (
    ChatPrompt,
    EngineInfo,
    EngineRequest,
    InvalidPrompt,
    Sampling,
    TextPrompt,
    TokenPrompt,
)
from services.worker.engine.vllm.call_binding import bound_structure, bound_tools
from services.worker.engine.vllm.fill_in_the_middle import MiddleTokens, middle_tokens
from services.worker.engine.vllm.sampling import structured_outputs

_READS_DOCUMENTS = re.compile(r"\bdocuments\b")


@dataclass(frozen=True, slots=True)
class Rendered:
    """A rendered prompt.

    chat: the request in the form that vLLM's parsers read; None for plain completions.
    """

    token_ids: list[int]
    structured: StructuredOutputsParams | None
    skip_special_tokens: bool = True
    chat: ChatCompletionRequest | None = None


class Renderer:
    """Renders prompts into token ids with vLLM's renderer, and rejects requests that do not fit the model."""

    def __init__(self, online: OnlineRenderer, model_name: str, info: EngineInfo) -> None:
        self._online, self._model_name, self._info = online, model_name, info

    @cached_property
    def _middle_tokens(self) -> MiddleTokens | None:
        """Few clients ask for a middle, so the vocabulary is not read before one does."""
        return middle_tokens(self._online.renderer.get_tokenizer().get_vocab())

    async def render(self, request: EngineRequest, add_special_tokens: bool | None = None) -> Rendered:
        """Renders the prompt of a request.

        Args:
            request: the request.
            add_special_tokens: whether the tokenizer adds its own; None: as the request says.

        Raises:
            InvalidPrompt: vLLM cannot render the prompt.
            ContextTooLong: the prompt alone does not fit the context.
        """
        if add_special_tokens is None:
            add_special_tokens = request.sampling.add_special_tokens
        try:
            if isinstance(request.prompt, ChatPrompt):
                return await self._chat(request, request.prompt, add_special_tokens is True)
            return await self._completion(request, request.prompt, add_special_tokens is not False)
        except (VLLMClientError, ValidationError, ValueError, TypeError) as error:
            raise self._mapped(error) from error

    async def _chat(self, request: EngineRequest, prompt: ChatPrompt, add_special_tokens: bool) -> Rendered:
        if prompt.documents:
            self._check_documents(prompt)
        fields = _chat_fields(self._model_name, request, prompt) | {"add_special_tokens": add_special_tokens}
        fields |= self._truncation(request.sampling)
        # Whatever the schemas of a forced call are, they cannot fail here: the bound ones make the grammar.
        rendered = {**fields, "tool_choice": "auto"} if prompt.argument_schemas else fields
        chat = ChatCompletionRequest(**rendered)
        result = await self._online.render_chat(chat)
        if not isinstance(result, tuple):
            raise InvalidPrompt(result.error.message, result.error.param or "")
        _, (engine_input,) = result
        return Rendered(
            token_ids=list(engine_input["prompt_token_ids"]),
            # Rendering has joined the grammar of tool calls with the grammar that the request asked for.
            structured=self._bound(chat, fields, prompt)
            if prompt.argument_schemas
            else chat.extract_structured_outputs(),
            skip_special_tokens=chat.skip_special_tokens,
            chat=chat,
        )

    def _bound(
        self, chat: ChatCompletionRequest, fields: dict[str, Any], prompt: ChatPrompt
    ) -> StructuredOutputsParams | None:
        """Returns the grammar with the schemas that bind, and gives the rendered chat its own choice of tools."""
        bound = ChatCompletionRequest(**{**fields, "tools": bound_tools(prompt)})
        chat.tool_choice = bound.tool_choice
        parser = self._online.parser(
            self._online.renderer.get_tokenizer(),
            bound.tools,
            model_config=self._online.model_config,
            chat_template_kwargs=self._online.effective_chat_template_kwargs(bound),
        )
        return bound_structure(parser, bound, prompt)

    async def _completion(
        self, request: EngineRequest, prompt: TextPrompt | TokenPrompt, add_special_tokens: bool
    ) -> Rendered:
        if isinstance(prompt, TokenPrompt):
            check_token_ids(prompt.ids, self._info.vocab_size, "prompt")
        completion = CompletionRequest(
            model=self._model_name,
            prompt=self._given(prompt, request.sampling),
            max_tokens=1,
            add_special_tokens=add_special_tokens,
            **self._truncation(request.sampling),
        )
        result = await self._online.render_completion(completion)
        if not isinstance(result, list):
            raise InvalidPrompt(result.error.message, result.error.param or "")
        sampling = request.sampling
        token_ids = list(result[0]["prompt_token_ids"])
        return Rendered(token_ids, structured_outputs(sampling.structure), sampling.skip_special_tokens)

    def _given(self, prompt: TextPrompt | TokenPrompt, sampling: Sampling) -> str | list[int]:
        if not sampling.suffix:
            return prompt.text if isinstance(prompt, TextPrompt) else list(prompt.ids)
        if not isinstance(prompt, TextPrompt):
            raise InvalidPrompt("suffix needs a prompt that is a text", "suffix")
        if self._middle_tokens is None:
            raise InvalidPrompt("this model has no tokens for a suffix: it only continues text", "suffix")
        return self._middle_tokens.prompt(prompt.text, sampling.suffix)

    def _truncation(self, sampling: Sampling) -> dict[str, Any]:
        kept = kept_prompt_tokens(sampling, self._info.context_tokens)
        if kept is None:
            return {}
        return {"truncate_prompt_tokens": kept, "truncation_side": "right" if sampling.keep_prompt_start else "left"}

    def _check_documents(self, prompt: ChatPrompt) -> None:
        """A template that does not read documents would leave them out, and the client would not know."""
        if not _READS_DOCUMENTS.search(self.template(prompt.tools)):
            raise InvalidPrompt(
                "the chat template of this model reads no documents: put their text into the messages", "documents"
            )

    def template(self, tools: list[dict[str, Any]] | None = None) -> str:
        """Returns the chat template that chats with these tools are rendered with; empty if the model has none."""
        tokenizer = self._online.renderer.get_tokenizer()
        if not hasattr(tokenizer, "get_chat_template"):
            return ""
        return resolve_chat_template(tokenizer, None, tools, model_config=self._online.model_config) or ""

    def _mapped(self, error: Exception) -> InvalidPrompt:
        """Maps an error of vLLM; one about too many prompt tokens becomes ContextTooLong."""
        param = getattr(error, "parameter", None) or ""
        if param in ("input_tokens", "input_text", "max_model_len", "max_total_tokens"):
            return context_too_long(self._info.context_tokens, "more in its prompt alone")
        return invalid_prompt(error)


def _chat_fields(model_name: str, request: EngineRequest, prompt: ChatPrompt) -> dict[str, Any]:
    fields: dict[str, Any] = {
        "model": model_name,
        "messages": prompt.messages,
        "stream": True,
        "structured_outputs": structured_outputs(request.sampling.structure),
        "reasoning_effort": prompt.reasoning_effort,
        "skip_special_tokens": request.sampling.skip_special_tokens,
        "add_generation_prompt": prompt.add_generation_prompt,
        "continue_final_message": prompt.continue_final_message,
        "chat_template_kwargs": dict(prompt.template_kwargs) or None,
        "documents": prompt.documents or None,
    }
    if prompt.tools:
        fields |= {"tools": prompt.tools, "parallel_tool_calls": prompt.parallel_tool_calls}
        fields["tool_choice"] = prompt.tool_choice or "auto"
    return {name: value for name, value in fields.items() if value is not None}


def invalid_prompt(error: Exception) -> InvalidPrompt:
    """Maps an error of vLLM to the error that a client reads: its first line, without the values that vLLM adds."""
    if isinstance(error, ValidationError):
        first = error.errors()[0]
        return InvalidPrompt(first["msg"], ".".join(map(str, first["loc"])))
    words = str(error.args[0]) if error.args else type(error).__name__
    return InvalidPrompt(words.partition("\n")[0], getattr(error, "parameter", None) or "")
