"""The console in a real browser, before a simulated cluster whose engines are slow enough to be watched."""

import asyncio
import json
import re
import shutil
import subprocess
from collections.abc import AsyncIterator, Iterator

import httpx
import pytest
import pytest_asyncio
from playwright.async_api import Browser, ConsoleMessage, Error, Page, Route, async_playwright, expect

from tests.support.cluster import RunningCluster, running_cluster, tidegate
from tests.support.wait import wait_until

CHROMIUM = shutil.which("chromium")
pytestmark = [
    pytest.mark.cluster,
    pytest.mark.timeout(180),
    pytest.mark.asyncio(loop_scope="module"),
    pytest.mark.skipif(CHROMIUM is None, reason="there is no Chromium on this machine"),
]

CONFIG = """
pools:
  - {name: tide, model: simulated, workers: 2, engine: {kind: simulated, max_running: 4, step_ms: 60, swap_ms: 1500}}
"""
MARKUP = "<img src=x onerror=\"document.title='taken'\"><script>document.title='taken'</script>"
SHOWN_MS = 15_000


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningCluster]:
    with running_cluster(tmp_path_factory.mktemp("console"), CONFIG) as running:
        yield running


def site(cluster: RunningCluster) -> str:
    return cluster.rest.removesuffix("/v1")


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def browser() -> AsyncIterator[Browser]:
    async with async_playwright() as playwright:
        launched = await playwright.chromium.launch(executable_path=CHROMIUM)
        yield launched
        await launched.close()


@pytest_asyncio.fixture(loop_scope="module")
async def page(cluster: RunningCluster, browser: Browser) -> AsyncIterator[Page]:
    """A page on which nothing goes wrong unseen: no script fails, and the policy has nothing to forbid."""
    wrong: list[str] = []
    async with await browser.new_context(color_scheme="light", viewport={"width": 1280, "height": 800}) as context:
        context.set_default_timeout(SHOWN_MS)
        opened = await context.new_page()
        opened.on("pageerror", lambda error: wrong.append(str(error)))
        opened.on("console", lambda said: wrong.append(said.text) if unexpected(said) else None)
        opened.on(
            "request", lambda request: None if request.url.startswith(site(cluster)) else wrong.append(request.url)
        )
        await opened.goto(site(cluster) + "/")
        yield opened
    assert not wrong


def unexpected(said: ConsoleMessage) -> bool:
    """Browsers tell of every refusal by status, which tests ask for."""
    return said.type == "error" and not said.text.startswith("Failed to load resource: the server responded")


async def sign_in(page: Page, key: str) -> None:
    await page.get_by_label("API key").fill(key)
    await page.keyboard.press("Enter")
    await expect(page.locator("#sign-in")).to_be_hidden()
    await expect(page.locator("#model")).to_have_value("tide")


async def send(page: Page, text: str) -> None:
    await page.get_by_label("Message").fill(text)
    await page.keyboard.press("Enter")


async def test_a_conversation_with_figures(cluster: RunningCluster, page: Page) -> None:
    await sign_in(page, cluster.key)
    await page.get_by_label("Max tokens").fill("8")
    await page.get_by_label("Tier").select_option("flex")
    for question in ("Where does the tide go?", "And when is it back?"):
        await send(page, question)
        await expect(page.locator(".turn.user").last).to_have_text(question)
        await expect(page.locator(".turn.assistant").last).to_have_class("turn assistant ended", timeout=SHOWN_MS)
    facts = await page.locator("#facts").inner_text()
    (version,) = {worker["version"] for worker in cluster.status()["workers"]}
    for fact in ("Time to first token", "Tokens/s", "8 tokens", "flex", "length", version[:12], "Request id"):
        assert fact in facts, facts
    async with page.expect_request("**/v1/chat/completions") as asked:
        await send(page, "Once more?")
    roles = [message["role"] for message in json.loads((await asked.value).post_data or "")["messages"]]
    assert roles == ["user", "assistant", "user", "assistant", "user"]


async def test_the_copied_command_asks_the_same(cluster: RunningCluster, page: Page) -> None:
    await page.context.grant_permissions(["clipboard-read", "clipboard-write"])
    await sign_in(page, cluster.key)
    await page.get_by_label("Max tokens").fill("5")
    await page.get_by_label("Message").fill('What\'s the "tide" `id` $HOME?\n')
    await page.get_by_role("button", name="Copy as curl").click()
    await expect(page.locator("#status")).to_contain_text("Copied")
    command = await page.evaluate("navigator.clipboard.readText()")
    assert cluster.key not in command
    run = ["bash", "-c", command]
    said = await asyncio.to_thread(
        subprocess.run, run, env=cluster.environment, capture_output=True, text=True, timeout=60, check=True
    )
    assert said.stdout.endswith("data: [DONE]\n\n"), said.stdout
    assert '"completion_tokens":5' in said.stdout


async def endless(route: Route) -> None:
    """The same request, but its answer does not end by itself."""
    body = json.loads(route.request.post_data or "{}")
    await route.continue_(post_data=json.dumps({**body, "ignore_eos": True, "max_tokens": 8000}))


def words(number: int) -> re.Pattern[str]:
    """At least so many of them."""
    return re.compile(rf"^\s*(\w+\s+){{{number - 1}}}\w+")


async def running(cluster: RunningCluster) -> int:
    headers = {"authorization": f"Bearer {cluster.variables['TIDEGATE_ADMIN_KEY']}"}
    async with httpx.AsyncClient(headers=headers) as http:
        pools = (await http.get(f"{cluster.rest}/admin/cluster")).json()["pools"]
    return sum(pool["running"] for pool in pools)


async def test_tokens_stream_until_they_are_stopped(cluster: RunningCluster, page: Page) -> None:
    await page.route("**/v1/chat/completions", endless)
    await sign_in(page, cluster.key)
    for by_key in (False, True):
        await send(page, "Where does the tide go?")
        answer = page.locator(".turn.assistant .text").last
        await expect(answer).to_have_text(words(3))
        seen = len((await answer.inner_text()).split())
        await expect(answer).to_have_text(words(seen + 3))
        await (page.keyboard.press("Escape") if by_key else page.get_by_role("button", name="Stop").click())
        await expect(page.locator(".turn.assistant .note").last).to_contain_text("stopped")
        await expect(page.get_by_role("button", name="Send")).to_be_visible()

    async def freed() -> bool:
        return await running(cluster) == 0

    await wait_until(freed, description="the workers are free again")


TOOL = {"type": "function", "function": {"name": "tide_table", "parameters": {"type": "object"}}}


def told(*deltas: dict[str, object], finish: str) -> str:
    """A stream of these deltas."""
    ends = [None] * (len(deltas) - 1) + [finish]
    choices = ({"index": 0, "delta": delta, "finish_reason": end} for delta, end in zip(deltas, ends, strict=True))
    return "".join(f"data: {json.dumps({'choices': [choice]})}\n\n" for choice in choices) + "data: [DONE]\n\n"


def piece(index: int, arguments: str, **first: str) -> dict[str, object]:
    """Of a tool call; id and name come with its first piece."""
    named = {"id": first["id"], "type": "function"} if first else {}
    function = {"arguments": arguments, **({"name": first["name"]} if first else {})}
    return {"tool_calls": [{"index": index, "function": function, **named}]}


async def test_reasoning_and_tool_calls_show_and_results_go_back(cluster: RunningCluster, page: Page) -> None:
    calls: list[dict[str, object]] = [
        {"reasoning_content": "The harbour "},
        {"reasoning_content": f"matters. {MARKUP}"},
        piece(0, '{"harbour": ', id="call_1", name="tide_table"),
        piece(0, '"Brest"}'),
        piece(1, '{"harbour": "Bergen"}', id="call_2", name="tide_table"),
    ]
    answers = iter([told(*calls, finish="tool_calls"), told({"content": "High water at six."}, finish="stop")])
    asked: list[dict[str, object]] = []

    async def answer(route: Route) -> None:
        asked.append(json.loads(route.request.post_data or ""))
        await route.fulfill(status=200, content_type="text/event-stream", body=next(answers))

    await page.route("**/v1/chat/completions", answer)
    await sign_in(page, cluster.key)
    await page.get_by_text("Tools", exact=True).click()
    await page.get_by_label("Tools, as JSON").fill("[{")
    await send(page, "When is high water?")
    assert asked == []
    await page.get_by_label("Tools, as JSON").fill(json.dumps([TOOL]))
    await page.get_by_label("Tool choice").select_option("required")
    await send(page, "When is high water?")
    await expect(page.locator(".thought p")).to_have_text(f"The harbour matters. {MARKUP}")
    await expect(page.locator(".call code")).to_have_text(['{"harbour": "Brest"}', '{"harbour": "Bergen"}'])
    await expect(page.locator(".call figcaption")).to_have_text(["tide_table", "tide_table"])
    for result in ("06:00", "07:00"):
        await expect(page.get_by_label("Message")).to_have_attribute("placeholder", "Result of tide_table")
        await send(page, result)
    await expect(page.locator(".turn.assistant .text").last).to_have_text("High water at six.")
    await expect(page.get_by_label("Message")).to_have_attribute("placeholder", "Message")
    assert (asked[0]["tools"], asked[0]["tool_choice"]) == ([TOOL], "required")
    messages: list[dict[str, object]] = asked[1]["messages"]  # type: ignore[assignment]
    assert [message["role"] for message in messages] == ["user", "assistant", "tool", "tool"]
    assert [message.get("tool_call_id") for message in messages[2:]] == ["call_1", "call_2"]
    made: list[dict[str, dict[str, str]]] = messages[1]["tool_calls"]  # type: ignore[assignment]
    assert made[0]["function"] == {"name": "tide_table", "arguments": '{"harbour": "Brest"}'}


async def test_markup_is_text_wherever_it_comes_from(cluster: RunningCluster, page: Page) -> None:
    await sign_in(page, cluster.key)
    choice = {"index": 0, "delta": {"content": MARKUP}, "finish_reason": "stop"}
    event = {"model": MARKUP, "service_tier": MARKUP, "system_fingerprint": MARKUP, "choices": [choice]}
    stream = f": {MARKUP}\n\ndata: {json.dumps(event)}\n\ndata: [DONE]\n\n"
    error = json.dumps({"error": {"message": MARKUP, "type": "server_error", "param": None, "code": None}})
    answers = iter([(200, "text/event-stream", stream), (400, "application/json", error)])

    async def answer(route: Route) -> None:
        status, kind, body = next(answers)
        await route.fulfill(status=status, content_type=kind, body=body)

    await page.route("**/v1/chat/completions", answer)
    await send(page, MARKUP)
    await expect(page.locator(".turn .text")).to_have_text([MARKUP, MARKUP])
    await expect(page.locator("#facts")).to_contain_text(MARKUP)
    await send(page, "Again.")
    await expect(page.locator(".turn.failed .note")).to_have_text(MARKUP)
    await expect(page).to_have_title("Tidegate")
    await expect(page.locator("#log img, #facts img, main script")).to_have_count(0)


async def test_markup_is_refused_by_the_browser_too(cluster: RunningCluster, browser: Browser) -> None:
    """A mistake of ours would not run either."""
    async with await browser.new_context() as context:
        page = await context.new_page()
        await page.goto(site(cluster) + "/")
        with pytest.raises(Error, match="TrustedHTML"):
            await page.evaluate("document.body.innerHTML = '<b>markup</b>'")


async def test_with_the_keyboard_alone(cluster: RunningCluster, page: Page) -> None:
    keyboard = page.keyboard
    await keyboard.type("wrong-key")
    await keyboard.press("Enter")
    await expect(page.get_by_role("alert")).to_have_text("Incorrect API key provided.")
    await keyboard.press("Escape")
    await expect(page.locator("#sign-in")).to_be_visible()
    await keyboard.type(cluster.variables["TIDEGATE_ADMIN_KEY"])
    await keyboard.press("Enter")
    await expect(page.get_by_label("Message")).to_be_focused()
    await keyboard.type("First line")
    await keyboard.press("Shift+Enter")
    await keyboard.type("second line")
    await keyboard.press("Enter")
    await expect(page.locator(".turn.user .text")).to_have_text("First line\nsecond line", use_inner_text=True)
    await keyboard.press("Escape")
    await expect(page.locator(".turn.ended")).to_have_count(1)
    link = page.get_by_role("link", name="Cluster")
    for _ in range(20):
        await keyboard.press("Shift+Tab")
        if await link.evaluate("link => link === document.activeElement"):
            break
    await keyboard.press("Enter")
    await expect(page.get_by_role("region", name="Pool tide")).to_be_visible()
    await keyboard.press("/")
    await expect(page.get_by_label("Message")).to_be_focused()
    await expect(page.get_by_label("Message")).to_have_value("")


async def test_the_cluster_lives_and_a_rollout_shows(cluster: RunningCluster, page: Page) -> None:
    await sign_in(page, cluster.variables["TIDEGATE_ADMIN_KEY"])
    await page.get_by_role("link", name="Cluster").click()
    pool = page.get_by_role("region", name="Pool tide")
    workers = pool.get_by_role("table", name="Workers").locator("tbody tr")
    await expect(workers).to_have_count(2)
    await expect(workers.locator(".state")).to_have_text(["ready", "ready"])
    classes = pool.get_by_role("table", name="Queue by class").locator("tbody th")
    await expect(classes).to_have_text(["priority", "default", "flex", "batch"])
    for arguments in (
        ("models", "import", "simulated:77", "--name", "simulated", "--alias", "next"),
        ("rollout", "start", "simulated", "next", "--no-wait"),
    ):
        done = await asyncio.to_thread(tidegate, cluster.folder, *arguments)
        assert done.returncode == 0, done.stdout + done.stderr
    rollout = pool.locator(".rollout")
    await expect(rollout.locator(".state")).to_have_text("rolling", timeout=SHOWN_MS)
    await expect(rollout.locator(".state")).to_have_text("done", timeout=2 * SHOWN_MS)
    await expect(rollout).to_contain_text("2 of 2 workers")
    (version,) = {worker["version"] for worker in cluster.status()["workers"]}
    await expect(workers.locator(".digest")).to_have_text([version[:12]] * 2)


async def test_adapters_in_memory_show_with_their_workers(cluster: RunningCluster, page: Page) -> None:
    """The workers are real, what they have loaded is not: the simulated engine loads nothing."""
    loaded: list[list[dict[str, str]]] = [[], []]

    async def answer(route: Route) -> None:
        document = await (await route.fetch()).json()
        for worker, adapters in zip(document["pools"][0]["workers"], loaded, strict=True):
            worker["loaded_adapters"] = adapters
        await route.fulfill(json=document)

    await page.route("**/v1/admin/cluster", answer)
    await sign_in(page, cluster.variables["TIDEGATE_ADMIN_KEY"])
    await page.get_by_role("link", name="Cluster").click()
    pool = page.get_by_role("region", name="Pool tide")
    table = pool.get_by_role("table", name="Adapters in memory")
    await expect(pool.get_by_role("table", name="Workers").locator("tbody tr")).to_have_count(2)
    await expect(table).to_be_hidden()
    ids = sorted(worker["id"] for worker in cluster.status()["workers"])
    both = {"name": "support-de", "version": "a" * 64}
    loaded[:] = [[both, {"name": "legal", "version": "b" * 64}], [both]]
    rows = table.locator("tbody tr")
    await expect(rows.locator("th")).to_have_text(["legal", "support-de"])
    await expect(rows.locator("td")).to_have_text(["b" * 12, ids[0], "a" * 12, ", ".join(ids)])
    loaded[:] = [[], [both]]
    await expect(rows.locator("td")).to_have_text(["a" * 12, ids[1]])


async def test_an_inference_key_is_told_kindly_and_a_lost_one_asked_for(cluster: RunningCluster, page: Page) -> None:
    await sign_in(page, cluster.key)
    await page.get_by_role("link", name="Cluster").click()
    await expect(page.locator("#cluster-note")).to_contain_text("needs an admin key")
    await page.evaluate("sessionStorage.setItem('tidegate.key', 'revoked')")
    await page.get_by_role("link", name="Chat").click()
    await expect(page.get_by_role("dialog")).to_contain_text("Incorrect API key provided.")
    assert await page.evaluate("[...Object.keys(sessionStorage), ...Object.keys(localStorage)]") == []


async def test_dark_and_light(cluster: RunningCluster, page: Page) -> None:
    await sign_in(page, cluster.key)
    ground = "() => getComputedStyle(document.body).backgroundColor"
    light = await page.evaluate(ground)
    await page.emulate_media(color_scheme="dark")
    dark = await page.evaluate(ground)
    assert light != dark
    switch = page.get_by_role("button", name="Theme")
    await switch.click()
    await expect(switch).to_have_text("Theme: light")
    assert await page.evaluate(ground) == light
    await page.reload()
    await expect(switch).to_have_text("Theme: light")
    assert await page.evaluate(ground) == light
    await expect(page.locator("#sign-in")).to_be_hidden()


async def test_rates_and_quantiles_of_several_gateways(cluster: RunningCluster, page: Page) -> None:
    """Two gateways that take turns at answering, and one that starts again at zero."""
    found = await page.evaluate(
        """async () => {
            const { Figures } = await import("/console/figures.js");
            const figures = new Figures();
            const take = (at, id, since, ok, failed, counts) => {
                const ttft = { le: counts.length ? [0.1, 0.2, null] : [], counts };
                const requests = { 200: ok, 503: failed };
                figures.take({ at, gateway: { id, since, open_requests: 1, requests, ttft } });
            };
            take(100, "a", 1, 50, 0, [50, 50, 50]);
            take(101, "b", 1, 900, 9, []);
            take(110, "a", 1, 70, 0, [60, 70, 70]);
            take(111, "b", 1, 925, 14, []);
            take(112, "c", 1, 9000, 0, [0, 0, 0]);
            take(113, "c", 2, 0, 0, [0, 0, 0]);
            const { requestRate, errorShare, openRequests } = figures;
            return [requestRate, errorShare, openRequests, figures.ttft(0.5), figures.ttft(0.75)];
        }"""
    )
    # a: 20 in 10 s; b: 30 in 10 s, 5 of them failed. Of a's 20 first tokens, 10 came within 0.1 s, 10 within 0.2 s.
    assert found == pytest.approx([5.0, 0.1, 3, 100.0, 150.0])


async def test_the_api_is_documented_without_anything_from_elsewhere(cluster: RunningCluster, page: Page) -> None:
    await page.goto(f"{site(cluster)}/docs")
    chat = page.locator("#chat_v1_chat_completions_post")
    await expect(chat).to_have_count(1)
    await chat.locator("summary").click()
    await expect(chat.get_by_text("curl", exact=False)).to_contain_text("What is a neap tide?")
    await expect(chat.get_by_role("row", name=re.compile("^messages"))).to_contain_text("required")
    await expect(page.get_by_role("heading", name="admin")).to_be_visible()
