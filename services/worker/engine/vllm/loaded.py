"""The parts of vLLM and of our adapter that exist once vLLM has started."""

from dataclasses import dataclass

from vllm.parser import Parser
from vllm.renderers.online_renderer import OnlineRenderer
from vllm.v1.engine.async_llm import AsyncLLM

from services.worker.engine.contract import EngineInfo, EngineRequest, Model
from services.worker.engine.grammar.check import GrammarCheck
from services.worker.engine.vllm.choice import Choice
from services.worker.engine.vllm.decode import Decoder
from services.worker.engine.vllm.parse import AnswerParser
from services.worker.engine.vllm.render import Rendered, Renderer
from services.worker.engine.vllm.sampling import text_params
from services.worker.engine.vllm.steps import Steps
from services.worker.engine.vllm.token_bytes import TokenBytes


@dataclass(frozen=True, slots=True)
class Loaded:
    """All parts that exist once vLLM has started."""

    llm: AsyncLLM
    steps: Steps
    model: Model
    info: EngineInfo
    online: OnlineRenderer
    renderer: Renderer
    grammars: GrammarCheck
    token_bytes: TokenBytes

    def salt(self, cache_salt: str) -> str:
        """Returns the cache salt of a request, with the version before it. Every request to vLLM needs one.

        So KV of another version of the model is never found, and that of this one is, after a rollback too. KV of a
        draft model lies in the same blocks, so its version is there too.

        Args:
            cache_salt: that of the request's tenant, or "".
        """
        return self.info.model_version + self.info.draft_version + cache_salt

    def choice(self, index: int, request: EngineRequest, rendered: Rendered, limit: int) -> Choice:
        """Makes a new choice.

        Args:
            limit: the most tokens that the choice may have.

        Raises:
            ValueError: vLLM rejects the stop strings.
        """
        tokenizer = self.llm.renderer.get_tokenizer()
        params = text_params(request.sampling, rendered.skip_special_tokens)
        params.update_from_generation_config(
            self.llm.input_processor.generation_config_fields, self.llm.renderer.get_eos_token_id()
        )
        echo = tokenizer.decode(rendered.token_ids, skip_special_tokens=True) if request.sampling.echo else ""
        parser = AnswerParser(self._parser(rendered), rendered.chat, rendered.token_ids)
        return Choice(index, Decoder(tokenizer, params, rendered.token_ids), parser, self.token_bytes, limit, echo)

    def _parser(self, rendered: Rendered) -> Parser | None:
        if self.online.parser is None or rendered.chat is None:
            return None
        return self.online.parser(
            self.llm.renderer.get_tokenizer(),
            rendered.chat.tools,
            chat_template_kwargs=self.online.effective_chat_template_kwargs(rendered.chat),
            model_config=self.llm.model_config,
        )
