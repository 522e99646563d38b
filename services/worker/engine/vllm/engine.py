"""The engine contract on vLLM's AsyncLLM: start, stop, weight swap, and vLLM's errors as errors of the contract."""

import asyncio
import logging
import multiprocessing
import os
from collections.abc import AsyncGenerator, Iterator
from contextlib import aclosing, contextmanager
from dataclasses import replace
from typing import Any

from vllm.engine.arg_utils import AsyncEngineArgs
from vllm.envs import enable_envs_cache
from vllm.exceptions import VLLMClientError
from vllm.platforms import current_platform
from vllm.renderers.online_renderer import OnlineRenderer
from vllm.v1.engine.async_llm import AsyncLLM
from vllm.v1.engine.exceptions import EngineDeadError

from services.shared.clock import Clock
from services.shared.config import Adapters
from services.shared.engine_settings import VllmEngine as Config
from services.shared.staging import RefusedModel
from services.worker.engine.bounds import check_token_ids, token_limit
from services.worker.engine.contract import (
    Adapter,
    Drafter,
    EmbedRequest,
    EngineDead,
    EngineError,
    EngineInfo,
    EngineLoad,
    EngineRequest,
    Event,
    InvalidPrompt,
    Model,
    Prompt,
    SwapFailed,
    Take,
    leave,
)
from services.worker.engine.grammar.check import GrammarCheck
from services.worker.engine.node import Node
from services.worker.engine.vllm import parent_watch
from services.worker.engine.vllm.cpu_options import cpu_arguments
from services.worker.engine.vllm.draft_check import check_draft
from services.worker.engine.vllm.draft_flag import DraftFlag
from services.worker.engine.vllm.embed import VllmEmbedding
from services.worker.engine.vllm.environment import name_node
from services.worker.engine.vllm.grammars import grammar_of, grammar_param
from services.worker.engine.vllm.loaded import Loaded
from services.worker.engine.vllm.lora import add_lora, lora_arguments
from services.worker.engine.vllm.options import engine_arguments, is_switched
from services.worker.engine.vllm.prefill_speed import prefill_tokens_per_s
from services.worker.engine.vllm.reload import no_swap
from services.worker.engine.vllm.render import Renderer, invalid_prompt
from services.worker.engine.vllm.request import VllmRequest
from services.worker.engine.vllm.stats import StepStats
from services.worker.engine.vllm.steps import install
from services.worker.engine.vllm.swap import reload_draft, reload_model
from services.worker.engine.vllm.swap_check import why_restart
from services.worker.engine.vllm.token_bytes import TokenBytes

log = logging.getLogger(__name__)

# Paths on this machine.
_FILE_FIELDS = frozenset({"vocab_file", "merges_file", "tokenizer_file", "name_or_path"})
# For vLLM's process to end once it was told to; then it is killed. It frees memory at once, and then Python looks for
# garbage in it for longer than vLLM's own limit of 5 s. A worker that is replaced has no time for that. With several
# ranks it has to end the other processes first, and vLLM's own limit counts.
_EXIT_S = 1.0
_KILL_TRIES = 100
_KILL_WAIT_S = 0.2


class VllmEngine:
    """The engine contract on vLLM's AsyncLLM, which runs its steps in a child process."""

    def __init__(
        self, config: Config, clock: Clock, adapters: Adapters | None = None, traces_endpoint: str | None = None
    ) -> None:
        self._config, self._clock, self._adapters = config, clock, adapters
        self._traces_endpoint = traces_endpoint
        self._stats = StepStats(clock)
        self._draft_flag: DraftFlag | None = None
        self._building: asyncio.Future[AsyncLLM] | None = None
        self._loaded: Loaded | None = None
        self._death: str | None = None

    async def start(self, model: Model, node: Node | None = None) -> None:
        """Starts vLLM with the model, warms it and measures its prefill speed.

        Args:
            model: The staged model.
            node: The first of several nodes; the others start their parts at the same time.

        Raises:
            EngineDead: vLLM did not start.
        """
        if not parent_watch.installed():
            log.warning(
                "vLLM's plugin %s is not installed: the engine of a killed worker would go on", parent_watch.NAME
            )
        self._building = asyncio.ensure_future(asyncio.to_thread(self._build, model, node))
        try:
            llm = await asyncio.shield(self._building)
            steps = install(llm)
            if self._config.pipeline_parallel > 1 and current_platform.is_cpu():
                await _make_stage_buffers(llm)
            if self._config.runner == "pooling":
                await _check_that_it_embeds(llm)
        except (RuntimeError, ValueError, OSError) as error:
            self._death = f"vLLM did not start: {error}"
            raise EngineDead(self._death) from error
        info = _info(llm, model, self._config)
        self._stats.kv_tokens = info.kv_tokens
        online = _online_renderer(llm, self._config)
        # The first use reads templates and imports modules for half a second. A thread does it now, so that neither the
        # event loop nor the first client waits for it.
        await asyncio.to_thread(online.warmup)
        renderer = Renderer(online, model.manifest.model, info)
        grammars = GrammarCheck(model.folder, llm.vllm_config.model_config.get_vocab_size())
        if not info.dimensions:
            await grammars.start()
        token_bytes = TokenBytes(llm.renderer.get_tokenizer())
        self._loaded = loaded = Loaded(llm, steps, model, info, online, renderer, grammars, token_bytes)
        speed = await prefill_tokens_per_s(self, self._clock)
        self._loaded = replace(loaded, info=replace(info, prefill_tokens_per_s=speed))

    def _build(self, model: Model, node: Node | None) -> AsyncLLM:
        # At level INFO, vLLM adds a logger that sums up every step for log lines that nobody needs.
        logging.getLogger("vllm.v1.metrics.loggers").setLevel(logging.WARNING)
        if self._traces_endpoint:
            os.environ.setdefault("OTEL_SERVICE_NAME", "tidegate-engine")  # of vLLM's own spans
        if node is not None:
            name_node(node.address)
        arguments = self._arguments(model, node)
        if is_switched(self._config.speculation):
            self._draft_flag = DraftFlag.make()
            self._stats.switch_drafts(self._draft_flag)
        llm = AsyncLLM.from_engine_args(AsyncEngineArgs(**arguments), stat_loggers=[self._stats.logger])
        # vLLM reads the environment at every token. Its engine process caches what it has read; this process does too.
        enable_envs_cache()
        return llm

    def _arguments(self, model: Model, node: Node | None) -> dict[str, Any]:
        arguments = engine_arguments(self._config, model, node, self._traces_endpoint) | lora_arguments(self._adapters)
        return arguments | cpu_arguments(self._config, model)

    @property
    def info(self) -> EngineInfo:
        """What this engine runs and how much fits into it.

        Raises:
            EngineDead: the engine has not started or has ended.
        """
        return self._alive().info

    def load(self) -> EngineLoad:
        """Returns the load now; sequences that no step has counted yet are waiting ones."""
        counted = self._stats.load()
        unfinished = self._loaded.llm.get_num_unfinished_requests() if self._loaded else 0
        running = min(counted.running, unfinished)
        return replace(counted, running=running, waiting=unfinished - running)

    @property
    def death(self) -> str | None:
        """Why the engine is gone for good, or None while it lives."""
        if self._death is None and self._loaded is not None and self._loaded.llm.errored:
            self._death = "vLLM's engine process has died"
        return self._death

    async def generate(self, request: EngineRequest, take: Take = leave) -> AsyncGenerator[Event, None]:
        """Generates all choices of one request; the contract describes the events.

        Raises:
            InvalidPrompt: the request is at fault.
            EngineDead: vLLM's process has ended.
            EngineError: vLLM failed for another reason.
        """
        loaded = self._alive()
        if loaded.info.dimensions:
            raise InvalidPrompt("this model embeds: it generates no text", "model")
        rendered = await loaded.renderer.render(request)
        if grammar := grammar_of(rendered.structured):
            await loaded.grammars.check(grammar, grammar_param(request, grammar))
        limit = token_limit(request.sampling, len(rendered.token_ids), loaded.info.context_tokens)
        generation = VllmRequest(loaded, request, rendered, limit, take)
        with self._errors():
            async with aclosing(generation.events()) as events:
                async for event in events:
                    yield event

    async def embed(self, request: EmbedRequest) -> AsyncGenerator[Event, None]:
        """Embeds the inputs of one request; the contract describes the events.

        Raises:
            InvalidPrompt: the request is at fault.
            EngineDead: vLLM's process has ended.
            EngineError: vLLM failed for another reason.
        """
        loaded = self._alive()
        if not loaded.info.dimensions:
            raise InvalidPrompt("this model generates text: it does not embed", "model")
        with self._errors():
            async with aclosing(VllmEmbedding(loaded, request).events()) as events:
                async for event in events:
                    yield event

    @contextmanager
    def _errors(self) -> Iterator[None]:
        """Turns errors of vLLM into those of the contract."""
        try:
            yield
        except EngineDeadError as error:
            raise EngineDead(self.death or "vLLM's engine process has died") from error
        except (VLLMClientError, ValueError) as error:
            raise invalid_prompt(error) from error
        except EngineError:
            raise
        except Exception as error:
            log.exception("vLLM failed")
            raise EngineError("vLLM failed") from error

    async def tokenize(self, prompt: Prompt, *, add_special_tokens: bool | None = None) -> list[int]:
        """Returns the token ids that `generate` would read for this prompt.

        Args:
            prompt: the prompt.
            add_special_tokens: whether the tokenizer adds its own; None means as `generate` does.

        Raises:
            InvalidPrompt: vLLM cannot render the prompt.
            EngineDead: the engine has not started or has ended.
        """
        rendered = await self._alive().renderer.render(EngineRequest("tokenize", prompt), add_special_tokens)
        return rendered.token_ids

    async def detokenize(self, token_ids: list[int]) -> str:
        """Returns the text of these token ids.

        Raises:
            InvalidPrompt: an id is outside the vocabulary.
            EngineDead: the engine has not started or has ended.
        """
        loaded = self._alive()
        check_token_ids(token_ids, loaded.info.vocab_size, "tokens")
        text: str = await asyncio.to_thread(loaded.llm.renderer.get_tokenizer().decode, token_ids)
        return text

    def tokenizer_config(self) -> dict[str, Any]:
        """Returns the fields of tokenizer_config.json, without those that name files, and the chat template.

        Raises:
            EngineDead: the engine has not started or has ended.
        """
        loaded = self._alive()
        tokenizer = loaded.llm.renderer.get_tokenizer()
        config = {
            name: value for name, value in getattr(tokenizer, "init_kwargs", {}).items() if name not in _FILE_FIELDS
        }
        if template := loaded.renderer.template():
            config["chat_template"] = template
        return {**config, "tokenizer_class": type(tokenizer).__name__}

    def token_strs(self, token_ids: list[int]) -> list[str]:
        """Returns tokens as the vocabulary writes them.

        Raises:
            EngineDead: the engine has not started or has ended.
        """
        tokenizer = self._alive().llm.renderer.get_tokenizer()
        return [piece or "" for piece in tokenizer.convert_ids_to_tokens(token_ids)]

    async def add_adapter(self, adapter: Adapter) -> None:
        """Loads an adapter between two steps.

        Raises:
            AdapterRefused: vLLM rejects the adapter.
            EngineDead: vLLM's process has ended.
        """
        loaded = self._alive()
        try:
            await add_lora(loaded.llm, adapter)
        except EngineDeadError as error:
            raise EngineDead(self.death or "vLLM's engine process has died") from error

    async def remove_adapter(self, adapter: Adapter) -> None:
        """Removes an adapter from vLLM's memory.

        Raises:
            EngineDead: vLLM's process has ended.
        """
        loaded = self._alive()
        try:
            await loaded.llm.remove_lora(adapter.number)
        except EngineDeadError as error:
            raise EngineDead(self.death or "vLLM's engine process has died") from error

    async def check_swap(self, model: Model) -> None:
        """Compares the manifests, the settings and the shapes of all tensors; nothing is touched.

        vLLM keeps its tokenizer, chat template and settings, and it cannot recover from a load that broke off.

        Raises:
            RefusedModel: no start of vLLM could serve the version.
            SwapFailed: the weights cannot be replaced in place.
            EngineDead: vLLM's process has ended.
        """
        loaded = self._alive()
        runs = loaded.llm.vllm_config.model_config
        reason = (
            "no golden prompts prove a model that embeds"
            if loaded.info.dimensions
            else no_swap(runs.architecture, runs.quantization, current_platform.device_type)
        )
        arguments = self._arguments(model, None)
        if reason := await asyncio.to_thread(why_restart, loaded.model, model, arguments, reason):
            raise SwapFailed(reason, intact=True)

    async def swap(self, model: Model, *, forget: bool = False) -> None:
        """Replaces the weights in place. vLLM forgets all adapters then, and all cached KV if `forget` says so.

        The cache salt of a request carries the version (request.py), so KV of another version is never found.

        Raises:
            SwapFailed: the weights were not replaced.
            EngineDead: vLLM's process has ended.
        """
        try:
            await self.check_swap(model)
        except RefusedModel as error:
            raise SwapFailed(str(error), intact=True) from None
        loaded = self._alive()
        if running := loaded.llm.get_num_unfinished_requests():
            raise SwapFailed(f"{running} requests are running", intact=True)
        try:
            await reload_model(loaded.llm, model.folder, nodes=self._config.nodes, forget=forget)
        except EngineDeadError as error:
            raise EngineDead(self.death or "vLLM's engine process has died") from error
        except Exception as error:
            raise SwapFailed(f"vLLM did not load the weights: {error}", intact=False) from error
        self._loaded = replace(loaded, model=model, info=replace(loaded.info, model_version=model.manifest.version))

    async def check_draft_swap(self, drafter: Drafter) -> None:
        """Compares manifests, settings and shapes (draft_check.py); nothing is touched.

        Raises:
            RefusedModel: no start of vLLM could draft with it.
            SwapFailed: it cannot be replaced in place.
            EngineDead: vLLM's process has ended.
        """
        loaded, speculation = self._alive(), self._config.speculation
        if speculation is None:
            raise SwapFailed("this engine does not speculate", intact=True)
        arguments, device = self._arguments(loaded.model, None), current_platform.device_type
        await asyncio.to_thread(check_draft, loaded.llm, speculation, loaded.model, drafter, arguments, device)

    async def swap_draft(self, drafter: Drafter) -> None:
        """Replaces the draft model in place. Requests that run compute their KV anew.

        Raises:
            SwapFailed: it was not replaced.
            EngineDead: vLLM's process has ended.
        """
        try:
            await self.check_draft_swap(drafter)
        except RefusedModel as error:
            raise SwapFailed(str(error), intact=True) from None
        loaded = self._alive()
        try:
            await reload_draft(loaded.llm, drafter.folder)
        except EngineDeadError as error:
            raise EngineDead(self.death or "vLLM's engine process has died") from error
        except Exception as error:
            raise SwapFailed(f"vLLM did not load the speculator: {error}", intact=False) from error
        info = replace(loaded.info, draft_version=drafter.manifest.version)
        self._loaded = replace(loaded, model=replace(loaded.model, draft=drafter), info=info)

    async def stop(self) -> None:
        """Ends vLLM's process, also one that is still starting; requests that run fail with EngineDead."""
        self._death = self._death or "the engine was stopped"
        if self._loaded:
            await self._loaded.grammars.stop()
        building, self._building, self._loaded = self._building, None, None
        if building is not None and (llm := await _built(building)) is not None:
            if llm.output_handler is not None:
                llm.output_handler.cancel()  # otherwise it would report the end as a failure
            await asyncio.to_thread(llm.shutdown, timeout=_EXIT_S if self._config.ranks == 1 else None)
        if self._draft_flag:
            self._draft_flag.close()
            self._draft_flag = None

    def _alive(self) -> Loaded:
        """Returns the started engine. Raises EngineDead."""
        if self.death or self._loaded is None:
            raise EngineDead(self.death or "the engine has not started")
        return self._loaded


async def _check_that_it_embeds(llm: AsyncLLM) -> None:
    """Raises ValueError if vLLM cannot embed with the model."""
    tasks = await llm.get_supported_tasks()
    if "embed" not in tasks:
        raise ValueError(f"engine.runner = pooling: this model cannot embed, it does {', '.join(tasks)}")


async def _make_stage_buffers(llm: AsyncLLM) -> None:
    """Runs a step without requests: it makes the buffers that later stages of a model read from.

    On GPUs vLLM runs such a step at its start. On a CPU it leaves the step out, unless it compiles, and the first
    request would end the engine (vLLM 0.32).
    """
    await llm.collective_rpc("execute_dummy_batch")


async def _built(building: "asyncio.Future[AsyncLLM]") -> AsyncLLM | None:
    """Returns the engine, or None if it did not start. Kills the process of an engine that is still starting."""
    for _ in range(_KILL_TRIES):
        await asyncio.wait([building], timeout=_KILL_WAIT_S)
        if building.done():
            return None if building.exception() else building.result()
        for child in multiprocessing.active_children():
            if child.name.startswith("EngineCore"):
                child.kill()
    log.error("vLLM is still starting and could not be killed")
    return None


def _info(llm: AsyncLLM, model: Model, config: Config) -> EngineInfo:
    model_config, cache = llm.vllm_config.model_config, llm.vllm_config.cache_config
    context_tokens = model_config.max_model_len
    # Models that read a whole text at once (BERT) have no KV cache.
    kv_tokens = (cache.num_gpu_blocks or 0) * cache.block_size or context_tokens * config.max_running
    return EngineInfo(
        architecture=model.manifest.architecture,
        model_version=model.manifest.version,
        # A request longer than the KV cache could never run.
        context_tokens=min(context_tokens, kv_tokens),
        max_running=config.max_running,
        kv_tokens=kv_tokens,
        vocab_size=model_config.get_vocab_size(),
        dimensions=model_config.embedding_size if config.runner == "pooling" else 0,
        draft_version=model.draft.manifest.version if model.draft else "",
    )


def _online_renderer(llm: AsyncLLM, config: Config) -> OnlineRenderer:
    return OnlineRenderer(
        llm.model_config,
        llm.renderer,
        request_logger=None,
        chat_template=None,
        chat_template_content_format="auto",
        enable_auto_tools=config.tool_parser is not None,
        tool_parser=config.tool_parser,
        reasoning_parser=config.reasoning_parser,
    )
