"""An engine that answers one token, the first byte of its weights' digest, and fails where a test tells it to."""

import asyncio
from collections.abc import AsyncGenerator
from typing import Any

from services.shared.staging import RefusedModel
from services.worker.engine.contract import (
    Adapter,
    AdapterRefused,
    Delta,
    Drafter,
    EmbedRequest,
    Ended,
    EngineDead,
    EngineInfo,
    EngineLoad,
    EngineRequest,
    Event,
    InvalidPrompt,
    Model,
    Prompt,
    SwapFailed,
    Take,
    Usage,
    leave,
    unfit,
)
from services.worker.engine.node import Node


def says(model: Model) -> int:
    return int(model.manifest.weights_sha256[:2], 16)


class ScriptedEngine:
    """`failures`: what each swap raises, in order; None means success. `wrong`: versions with wrong answers."""

    def __init__(self, model: Model, *failures: BaseException | None, wrong: tuple[str, ...] = ()) -> None:
        self._model, self._failures, self._wrong = model, list(failures), wrong
        self.swaps: list[str] = []
        self.forgot: list[str] = []
        self.hang = asyncio.Event()
        self.hang.set()
        self.death: str | None = None
        self.no_swap: str | None = None
        self.unservable: str | None = None

    async def start(self, model: Model, node: Node | None = None) -> None:
        self._model = model

    @property
    def info(self) -> EngineInfo:
        return EngineInfo("Simulated", self._model.manifest.version, 256, 8, 4096, 4353)

    def load(self) -> EngineLoad:
        return EngineLoad()

    async def generate(self, request: EngineRequest, take: Take = leave) -> AsyncGenerator[Event, None]:
        if self.death:
            raise EngineDead(self.death)
        yield Delta(0, "", (says(self._model) + (self._model.manifest.version in self._wrong),))
        yield Ended(Usage(1, 0, 1))

    async def embed(self, request: EmbedRequest) -> AsyncGenerator[Event, None]:
        raise InvalidPrompt("the scripted engine generates text: it does not embed", "model")
        yield

    def tokenizer_config(self) -> dict[str, Any]:
        return {}

    def token_strs(self, token_ids: list[int]) -> list[str]:
        return [chr(token) for token in token_ids]

    async def tokenize(self, prompt: Prompt, *, add_special_tokens: bool | None = None) -> list[int]:
        return [says(self._model)]

    async def detokenize(self, token_ids: list[int]) -> str:
        return bytes(token_ids).decode()

    async def add_adapter(self, adapter: Adapter) -> None:
        raise AdapterRefused("the scripted engine has no room")

    async def remove_adapter(self, adapter: Adapter) -> None:
        pass

    async def check_swap(self, model: Model) -> None:
        if self.unservable:
            raise RefusedModel(self.unservable)
        if reason := self.no_swap or unfit(self._model.manifest, model.manifest):
            raise SwapFailed(reason, intact=True)

    async def swap(self, model: Model, *, forget: bool = False) -> None:
        self.swaps.append(model.manifest.version)
        self.forgot += [model.manifest.version] * forget
        await self.hang.wait()
        if self._failures and (failure := self._failures.pop(0)):
            raise failure
        self._model = model

    async def check_draft_swap(self, drafter: Drafter) -> None:
        raise SwapFailed("the scripted engine has no speculator", intact=True)

    async def swap_draft(self, drafter: Drafter) -> None:
        await self.check_draft_swap(drafter)

    async def stop(self) -> None:
        self.death = "stopped"
