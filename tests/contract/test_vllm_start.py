"""What is done before vLLM is said to be ready, and where: with the real renderer's loading left out, and no engine."""

import threading
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from services.shared.clock import SystemClock
from services.shared.engine_settings import VllmEngine as Config
from services.worker.engine.contract import EngineInfo, Model
from tests.unit.worker.models import manifest_of

pytestmark = [pytest.mark.vllm, pytest.mark.timeout(400), pytest.mark.filterwarnings("default")]


INFO = EngineInfo("Llama", "v1", context_tokens=1, max_running=1, kv_tokens=1, vocab_size=1)


async def pace(*_: Any) -> int:
    return 7


class NoGrammars:
    def __init__(self, *_: Any) -> None: ...

    async def start(self) -> None: ...


async def test_the_renderer_is_warm_before_the_first_chat_and_not_in_the_loop(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from services.worker.engine.vllm import engine as module

    warmed_in: list[threading.Thread] = []
    online = SimpleNamespace(warmup=lambda: warmed_in.append(threading.current_thread()))
    vllm = SimpleNamespace(
        errored=False,
        vllm_config=SimpleNamespace(model_config=SimpleNamespace(get_vocab_size=int)),
        renderer=SimpleNamespace(get_tokenizer=lambda: None),
    )
    fakes = {
        "install": lambda _: None,
        "_info": lambda *_: INFO,
        "prefill_tokens_per_s": pace,
        "_online_renderer": lambda *_: online,
        "GrammarCheck": NoGrammars,
        "TokenBytes": lambda _: None,
    }
    for name, fake in fakes.items():
        monkeypatch.setattr(module, name, fake)
    engine = module.VllmEngine(Config(), SystemClock())
    monkeypatch.setattr(engine, "_build", lambda *_: vllm)
    await engine.start(Model(tmp_path, manifest_of({"model.safetensors": b""})))
    assert engine.info.prefill_tokens_per_s == 7
    assert len(warmed_in) == 1
    assert warmed_in[0] is not threading.main_thread()
