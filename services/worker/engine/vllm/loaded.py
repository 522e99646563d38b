"""What there is once vLLM has started."""

from dataclasses import dataclass

from vllm.renderers.online_renderer import OnlineRenderer
from vllm.v1.engine.async_llm import AsyncLLM

from services.worker.engine.contract import EngineInfo, Model
from services.worker.engine.vllm.parse import ChoiceParser
from services.worker.engine.vllm.render import Rendered, Renderer


@dataclass(frozen=True, slots=True)
class Loaded:
    llm: AsyncLLM
    model: Model
    info: EngineInfo
    online: OnlineRenderer
    renderer: Renderer

    def parser(self, choice: int, rendered: Rendered) -> ChoiceParser:
        parser = None
        if self.online.parser is not None and rendered.chat is not None:
            parser = self.online.parser(
                self.llm.renderer.get_tokenizer(),
                rendered.chat.tools,
                chat_template_kwargs=self.online.effective_chat_template_kwargs(rendered.chat),
                model_config=self.llm.model_config,
            )
        return ChoiceParser(choice, parser, rendered.chat, rendered.token_ids)
