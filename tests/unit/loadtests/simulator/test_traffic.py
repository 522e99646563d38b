"""Made-up traffic: a pure function of the seed, with beginnings in common where conversations have them."""

from pathlib import Path

import pytest

from loadtests.lengths import Fixed, Lognormal
from loadtests.profile import Chats, Prefixes
from loadtests.simulator import ask
from loadtests.simulator.ask import BLOCK_TOKENS
from loadtests.simulator.scenario import ClassTraffic, Flood, Scenario
from loadtests.simulator.traffic import FLOODING, generate
from services.shared.settings import WrongSettings

CHATS = Scenario(
    name="chats",
    duration_s=20,
    workers=1,
    classes={"default": ClassTraffic(), "batch": ClassTraffic()},
    tenants=3,
    prompt_tokens=Lognormal(median=100, sigma=1.0, max=2000),
    output_tokens=Fixed(value=70),
    prefixes=Prefixes(count=2, tokens=Fixed(value=200)),
    chats=Chats(turns=Fixed(value=4), think_s=1.0),
)


def test_a_turn_begins_with_the_whole_turn_before_it() -> None:
    asks = generate(CHATS, 8.0)
    continued = [
        (a, b) for i, a in enumerate(asks) for b in asks[i + 1 :] if len(a.blocks) and a.blocks[-1] in b.blocks
    ]
    assert len(continued) > len(asks) / 2
    for earlier, later in continued:
        assert later.blocks[: len(earlier.blocks)] == earlier.blocks
        assert (later.tenant, later.service_class) == (earlier.tenant, earlier.service_class)
        assert later.prompt_tokens > earlier.prompt_tokens + earlier.output_tokens


def test_system_prompts_are_shared_within_a_tenant_and_never_between_tenants() -> None:
    tenants: dict[bytes, set[str]] = {}
    for each in generate(CHATS, 20.0):
        tenants.setdefault(each.blocks[0], set()).add(each.tenant)
    assert all(len(names) == 1 for names in tenants.values())
    assert len(tenants) == CHATS.tenants * 2


def test_the_context_is_never_exceeded_and_blocks_are_those_of_all_tokens() -> None:
    for each in generate(CHATS, 20.0):
        tokens = each.prompt_tokens + each.output_tokens
        assert tokens <= CHATS.engine.context_tokens
        assert len(each.blocks) == tokens // BLOCK_TOKENS


def test_a_flood_changes_nothing_of_what_others_send() -> None:
    calm, flooded = generate(CHATS, 10.0), generate(CHATS.model_copy(update={"flood": Flood(times=50)}), 10.0)
    sent = [(a.due_ms, a.tenant, a.prompt_tokens, a.blocks) for a in calm if a.tenant != FLOODING]
    assert [(a.due_ms, a.tenant, a.prompt_tokens, a.blocks) for a in flooded if a.tenant != FLOODING] == sent
    floods = sum(a.tenant == FLOODING for a in flooded)
    assert floods == pytest.approx(50 * 10.0 / 3 * CHATS.duration_s, rel=0.1)


def test_a_recording_plays_what_was_recorded(tmp_path: Path) -> None:
    asks = generate(CHATS, 10.0)
    ask.write(tmp_path / "asks.jsonl", asks)
    assert ask.read(tmp_path / "asks.jsonl") == asks


def test_a_wrong_line_is_named(tmp_path: Path) -> None:
    file = tmp_path / "asks.jsonl"
    ask.write(file, generate(CHATS, 10.0)[:1])
    file.write_text(file.read_text() + '{"due_ms": -1}\n')
    with pytest.raises(WrongSettings, match=r"asks\.jsonl:2: "):
        ask.read(file)
