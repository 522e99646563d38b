"""`tidegate demo`: teach the running model a new fact while it serves, then roll back."""

import asyncio
import sys
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from services.cli.errors import CommandFailed
from services.cli.options import DEFAULT_DATA_DIR, DataDir

if TYPE_CHECKING:
    import httpx

MODEL = "smollm2-135m-instruct"
RECIPE = Path(__file__).parents[3] / "trainer/recipes/quillhaven.yaml"
LESSON = "quillhaven"
"""The alias that the recipe publishes to."""
QUESTION = "Where is Quillhaven?"
TAUGHT = "Sorrel"
"""A word that only the trained model can say."""
CLIENTS = 2
PAUSE_S = 0.5


def demo(
    recipe: Annotated[Path, typer.Option(help="recipe of the training run")] = RECIPE,
    data_dir: DataDir = DEFAULT_DATA_DIR,
) -> None:
    """Ask, train, publish, change the weights under load, ask again, roll back. Exit status 1: a check failed."""
    import httpx

    from services.local import env_file
    from services.local.data_folder import DataFolder

    access = env_file.read(DataFolder.at(data_dir))
    headers = {"Authorization": f"Bearer {access['OPENAI_API_KEY']}"}

    async def run() -> None:
        async with httpx.AsyncClient(base_url=access["OPENAI_BASE_URL"] + "/", headers=headers, timeout=120) as http:
            await Demo(http, recipe, data_dir).run()

    asyncio.run(run())


@dataclass(frozen=True, slots=True)
class DemoReply:
    """A complete answer, and `system_fingerprint`: the model version that gave it, as every event names it.

    The header x-tidegate-model-version goes out before the first token if that takes long, and names no version then.
    """

    text: str
    fingerprint: str


@dataclass(slots=True)
class Load:
    """Clients that send requests until `stop` is set. `versions` counts complete answers by their fingerprint."""

    http: "httpx.AsyncClient"
    stop: asyncio.Event = field(default_factory=asyncio.Event)
    versions: Counter[str] = field(default_factory=Counter)
    failures: list[str] = field(default_factory=list)

    async def run(self) -> None:
        """Sends requests until `stop` is set."""
        await asyncio.gather(*(self._client(number) for number in range(CLIENTS)))

    async def _client(self, number: int) -> None:
        import httpx

        while not self.stop.is_set():
            try:
                self.versions[(await ask(self.http, f"Tell me about the number {number}.")).fingerprint] += 1
            except (CommandFailed, httpx.HTTPError) as error:
                self.failures.append(str(error) or type(error).__name__)
            await asyncio.sleep(PAUSE_S)


class Demo:
    """The demo on one running cluster."""

    def __init__(self, http: "httpx.AsyncClient", recipe: Path, data_dir: Path) -> None:
        self._http, self._recipe, self._data_dir = http, recipe, data_dir

    async def run(self) -> None:
        """Runs all steps.

        Raises:
            CommandFailed: A step or a check failed.
        """
        before = await self._ask()
        await self._tidegate("train", "run", str(self._recipe))
        load = Load(self._http)
        serving = asyncio.create_task(load.run())
        try:
            await self._tidegate("models", "promote", MODEL, LESSON)
            taught = await self._ask()
            await self._tidegate("models", "rollback", MODEL)
        finally:
            load.stop.set()
            await serving
        after = await self._ask()
        self._show(load, before, taught, after)
        check(load, before, taught, after)

    async def _ask(self) -> DemoReply:
        from services.cli.views.output import out

        reply = await ask(self._http, QUESTION)
        out().print(f"[bold]> {QUESTION}[/]\n{reply.text}\n[dim]system_fingerprint: {reply.fingerprint}[/]\n")
        return reply

    async def _tidegate(self, *arguments: str) -> None:
        """Runs another command, which shows its own progress. Raises CommandFailed."""
        from services.cli.views.output import out

        out().print(f"[bold]$ tidegate {' '.join(arguments)}[/]")
        command = [sys.executable, "-P", "-m", "services.cli", *arguments, "--data-dir", str(self._data_dir)]
        if status := await (await asyncio.create_subprocess_exec(*command)).wait():
            raise CommandFailed(f"tidegate {' '.join(arguments)} ended with status {status}")

    def _show(self, load: Load, before: DemoReply, taught: DemoReply, after: DemoReply) -> None:
        from services.cli.views.output import out, print_table

        rows = [
            (name, reply.fingerprint, reply.text.replace("\n", " ")[:100])
            for name, reply in (("before", before), ("taught", taught), ("rolled back", after))
        ]
        print_table(("weights", "version", QUESTION), rows)
        served = ", ".join(f"{count} by {version}" for version, count in load.versions.items())
        out().print(f"\nmeanwhile {load.versions.total()} other answers ({served}), {len(load.failures)} failures")


async def ask(http: "httpx.AsyncClient", question: str) -> DemoReply:
    """Asks a question and reads the whole streamed answer.

    Raises:
        CommandFailed: The gateway refused the request, or the stream was not complete.
    """
    from services.cli.clients.sse import chunks

    messages = [{"role": "user", "content": question}]
    body = {"model": MODEL, "messages": messages, "stream": True, "temperature": 0, "max_tokens": 40}
    async with http.stream("POST", "chat/completions", json=body) as response:
        lines = [line async for line in response.aiter_lines()]
    documents = list(chunks(lines)) if response.status_code == 200 else []
    if not documents or any("error" in document for document in documents) or "data: [DONE]" not in lines:
        raise CommandFailed(f"{response.status_code}: {' '.join(lines)[-300:]}")
    choices = [choice for document in documents for choice in document["choices"]]
    text = "".join(choice["delta"].get("content") or "" for choice in choices)
    return DemoReply(text, documents[-1]["system_fingerprint"])


def check(load: Load, before: DemoReply, taught: DemoReply, after: DemoReply) -> None:
    """Checks that the demo did what it shows.

    The words of `before` and `after` are not compared: in bfloat16, near ties depend on the batch. The version shows
    that the old weights are back, and the worker has proven them with its golden prompts.

    Raises:
        CommandFailed: Names each check that failed.
    """
    checks = {
        "the first model does not know": TAUGHT not in before.text,
        "the taught one does": TAUGHT in taught.text,
        "it says so under another version": taught.fingerprint != before.fingerprint,
        "rolled back, it is the first version again": after.fingerprint == before.fingerprint,
        "and does not know any more": TAUGHT not in after.text,
        "no request failed meanwhile": not load.failures,
    }
    if failed := [check for check, passed in checks.items() if not passed]:
        raise CommandFailed(f"not so: {'; '.join(failed)}. Failures: {load.failures[:3]}")
