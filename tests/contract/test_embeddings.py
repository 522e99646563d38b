"""What every engine that embeds must do, run on each one: the simulated engine, and vLLM with a tiny BERT."""

import asyncio
import math
import struct
from collections.abc import AsyncIterator
from contextlib import aclosing

import pytest
import pytest_asyncio

from services.shared.clock import SystemClock
from services.shared.engine_settings import SimulatedEngine as SimulatedConfig
from services.shared.engine_settings import VllmEngine
from services.worker.engine.build import build_engine
from services.worker.engine.contract import (
    ContextTooLong,
    Delta,
    EmbedRequest,
    Ended,
    Engine,
    EngineRequest,
    Event,
    InvalidPrompt,
    Model,
    Sampling,
    Started,
    SwapFailed,
    TextPrompt,
    TokenPrompt,
)
from services.worker.golden import prove
from tests.contract import embedders
from tests.support.wait import wait_until
from tests.unit.worker.models import FREE, manifest_of, simulated_model

VLLM = [pytest.mark.vllm, pytest.mark.timeout(900), pytest.mark.filterwarnings("default")]
HIGH, LOW, MOON = "the high tide comes in", "the low tide goes out", "the moon pulls the tide"
ENCODER = {"kind": "vllm", "runner": "pooling", "dtype": "float32", "kv_memory_gib": 0.1, "max_running": 4}

pytestmark = pytest.mark.asyncio(loop_scope="module")


@pytest.fixture(scope="module", params=["simulated", pytest.param("vllm", marks=VLLM)])
def model(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Model:
    if request.param == "simulated":
        return simulated_model()
    folder = embedders.make(tmp_path_factory.mktemp("embedder"))
    return Model(folder, manifest_of({"model.safetensors": b""}, model="embedder"))


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def engine(model: Model) -> AsyncIterator[Engine]:
    simulated = SimulatedConfig.model_validate({"runner": "pooling", "context_tokens": 64, **FREE})
    of_model = VllmEngine.model_validate(ENCODER) if model.manifest.model == "embedder" else simulated
    engine = build_engine(of_model, SystemClock())
    await engine.start(model)
    yield engine
    await engine.stop()


async def embed(engine: Engine, *texts: str | tuple[int, ...], **fields: object) -> list[Event]:
    inputs = tuple(TextPrompt(each) if isinstance(each, str) else TokenPrompt(each) for each in texts)
    async with aclosing(engine.embed(EmbedRequest("test", inputs, **fields))) as events:  # type: ignore[arg-type]
        return [event async for event in events]


def vectors(events: list[Event]) -> dict[int, tuple[float, ...]]:
    found = [event for event in events if isinstance(event, Delta)]
    return {delta.choice: struct.unpack(f"<{len(delta.embedding) // 4}f", delta.embedding) for delta in found}


def alike(one: tuple[float, ...], other: tuple[float, ...]) -> float:
    return sum(a * b for a, b in zip(one, other, strict=True))


async def test_each_input_has_a_vector_of_length_one(engine: Engine) -> None:
    started, *deltas, ended = await embed(engine, HIGH, LOW, MOON)
    assert isinstance(started, Started)
    assert isinstance(ended, Ended)
    assert started.resumable
    assert started.prompt_tokens == ended.usage.prompt_tokens > 0
    assert ended.usage.completion_tokens == 0
    found = vectors(deltas)
    assert sorted(found) == [0, 1, 2]
    assert engine.info.dimensions == len(found[0])
    for vector in found.values():
        assert math.hypot(*vector) == pytest.approx(1, abs=1e-5)


async def test_a_text_has_the_same_vector_alone_and_among_others(engine: Engine) -> None:
    among = vectors(await embed(engine, LOW, HIGH, MOON))
    alone = vectors(await embed(engine, HIGH))
    assert alone[0] == pytest.approx(among[1], abs=1e-5)
    assert among[0] != pytest.approx(among[1], abs=1e-3)


async def test_the_tokens_of_a_text_have_its_vector(engine: Engine) -> None:
    tokens = tuple(await engine.tokenize(TextPrompt(MOON)))
    found = vectors(await embed(engine, MOON, tokens))
    assert found[0] == pytest.approx(found[1], abs=1e-5)


async def test_only_what_the_client_has_not_is_computed(engine: Engine) -> None:
    whole = vectors(await embed(engine, HIGH, LOW, MOON))
    rest = await embed(engine, HIGH, LOW, MOON, done=frozenset({0, 2}))
    assert vectors(rest) == {1: pytest.approx(whole[1], abs=1e-5)}


async def test_more_inputs_than_run_at_once(engine: Engine) -> None:
    found = vectors(await embed(engine, *[f"the tide {'in ' * (index % 9)}" for index in range(100)]))
    assert sorted(found) == list(range(100))
    assert found[1] == pytest.approx(found[10], abs=1e-5)


async def test_wrong_inputs_are_named(engine: Engine) -> None:
    with pytest.raises(ContextTooLong, match=r"input\[1\]"):
        await embed(engine, HIGH, "tide " * 1000)
    with pytest.raises(InvalidPrompt, match=r"input\[2\].*not in the vocabulary"):
        await embed(engine, HIGH, LOW, (10**6,))
    with pytest.raises(InvalidPrompt, match=r"dimensions|matryoshka"):
        await embed(engine, HIGH, dimensions=50_000)
    assert len(vectors(await embed(engine, HIGH))) == 1


async def test_long_inputs_are_cut_where_that_is_asked(engine: Engine) -> None:
    sampling = Sampling(max_tokens=0, truncate_prompt_tokens=-1)
    started, *_ = await embed(engine, "tide " * 1000, sampling=sampling)
    assert isinstance(started, Started)
    assert started.prompt_tokens == engine.info.context_tokens


async def test_it_generates_no_text(engine: Engine) -> None:
    with pytest.raises(InvalidPrompt, match="embeds") as refused:
        await anext(engine.generate(EngineRequest("test", TextPrompt(HIGH))))
    assert refused.value.param == "model"


async def test_a_reader_that_leaves_frees_the_engine(engine: Engine) -> None:
    inputs = tuple(TextPrompt(f"the tide {'in ' * (index % 9)}") for index in range(500))
    async with aclosing(engine.embed(EmbedRequest("left", inputs))) as events:
        assert isinstance(await anext(events), Started)
        reading = asyncio.ensure_future(anext(events))
        await asyncio.sleep(0)
        reading.cancel()
        await asyncio.gather(reading, return_exceptions=True)
    await wait_until(lambda: not (engine.load().running or engine.load().waiting), description="nothing runs")


async def test_vectors_are_those_of_transformers(engine: Engine, model: Model) -> None:
    if model.manifest.model != "embedder":
        pytest.skip("the simulated engine has no model")
    texts = [HIGH, LOW, MOON]
    found = vectors(await embed(engine, *texts))
    for index, expected in enumerate(await asyncio.to_thread(embedders.vectors, model.folder, texts)):
        assert found[index] == pytest.approx(expected, abs=1e-4)


async def test_a_version_is_loaded_without_a_proof(engine: Engine, model: Model) -> None:
    assert await prove(engine, model.manifest, "start") == 0


async def test_weights_of_vllm_do_not_change_in_place(engine: Engine, model: Model) -> None:
    if model.manifest.model != "embedder":
        pytest.skip("the simulated engine has no weights that could be wrong")
    with pytest.raises(SwapFailed, match="golden") as refused:
        await engine.check_swap(model)
    assert refused.value.intact


async def test_words_that_are_shared_bring_vectors_together(model: Model, engine: Engine) -> None:
    if model.manifest.model == "embedder":
        pytest.skip("a random model knows nothing")
    high, low, other = vectors(await embed(engine, HIGH, LOW, "bada gigo kobe")).values()
    assert alike(high, low) > alike(high, other)
