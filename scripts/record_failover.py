"""Records a stream that survives the `kill -9` of its worker, and draws the recording as an animated SVG.

usage: python scripts/record_failover.py [--draw-only]

It starts a simulated cluster of three workers in a temporary folder, asks `tidegate chat` a question, kills the worker
that answers, and asks `tidegate workers list` before and after. docs/images/failover.jsonl keeps what both terminals
showed, and when. docs/images/failover.svg is drawn from that file alone. With --draw-only nothing is started.
"""

import argparse
import asyncio
import json
import os
import re
import signal
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from itertools import pairwise
from pathlib import Path
from typing import Any
from xml.sax.saxutils import escape

import httpx

ROOT = Path(__file__).resolve().parents[1]
RECORDING = ROOT / "docs/images/failover.jsonl"
PICTURE = ROOT / "docs/images/failover.svg"
TIDEGATE = [sys.executable, "-m", "services.cli"]

# 14 tokens a second: slow enough to be read.
CONFIG = "pools:\n  - {name: tide, model: simulated, workers: 3, engine: {kind: simulated, step_ms: 70}}\n"
QUESTIONS = [f"Tell me about tide number {number}." for number in range(1, 41)]
LENGTH_TOKENS = range(170, 230)
LOOK_AFTER_TOKENS = 16
START_LIMIT_S = 600.0
STREAM_LIMIT_S = 120.0


@dataclass(frozen=True)
class Event:
    """What one terminal showed.

    Attributes:
        at: Seconds since the recording began.
        pane: "client" or "operator".
        kind: "command", "output", or "note" (said by this script, not by a program).
        text: The text, with its line ends.
    """

    at: float
    pane: str
    kind: str
    text: str


@dataclass
class Recorder:
    """Collects events; times count from its making."""

    began: float = field(default_factory=time.monotonic)
    events: list[Event] = field(default_factory=list)

    def add(self, pane: str, kind: str, text: str) -> None:
        """Notes that a pane shows more text from now on."""
        self.events.append(Event(round(time.monotonic() - self.began, 3), pane, kind, text))


# ---- recording


async def tidegate(folder: Path, *arguments: str) -> str:
    """Runs the command line in the cluster's folder. Raises RuntimeError if it fails."""
    environment = {**os.environ, "PYTHONPATH": f"{ROOT}:{ROOT / 'proto/gen'}"}
    process = await asyncio.create_subprocess_exec(
        *TIDEGATE, *arguments, cwd=folder, env=environment,
        stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE,
    )  # fmt: skip
    output, error = await asyncio.wait_for(process.communicate(), START_LIMIT_S)
    if process.returncode:
        raise RuntimeError(f"tidegate {' '.join(arguments)}: {error.decode()}")
    return output.decode()


async def choose_question(folder: Path) -> tuple[str, str]:
    """Finds a question whose undisturbed answer has a good length.

    Returns:
        The question and that answer.
    """
    lines = (folder / ".tidegate/local.env").read_text().splitlines()
    values = dict(line.split("=", 1) for line in lines if "=" in line and not line.startswith("#"))
    headers = {"Authorization": f"Bearer {values['OPENAI_API_KEY']}"}
    async with httpx.AsyncClient(base_url=values["OPENAI_BASE_URL"], headers=headers, timeout=STREAM_LIMIT_S) as client:

        async def ask(question: str) -> dict[str, Any]:
            body = {"model": "tide", "temperature": 0, "messages": [{"role": "user", "content": question}]}
            response = await client.post("chat/completions", json=body)
            response.raise_for_status()
            return dict(response.json())

        answers = await asyncio.gather(*(ask(question) for question in QUESTIONS))
    for question, answer in zip(QUESTIONS, answers, strict=True):
        if answer["usage"]["completion_tokens"] in LENGTH_TOKENS:
            return question, str(answer["choices"][0]["message"]["content"])
    raise RuntimeError("no question has an answer of the wanted length")


async def process_ids(folder: Path) -> dict[str, int]:
    """Returns the process id of each worker."""
    status = json.loads(await tidegate(folder, "status", "--json"))
    return {worker["id"]: worker["pid"] for worker in status["workers"]}


async def listed(folder: Path, recorder: Recorder) -> str:
    """Shows `tidegate workers list` in the operator's terminal, and returns what it says."""
    recorder.add("operator", "command", "tidegate workers list")
    said = await tidegate(folder, "workers", "list")
    recorder.add("operator", "output", said)
    return said


def busy(table: str) -> str:
    """Returns the name of the worker that has a request, read from `tidegate workers list`."""
    found = re.search(r"^(\S+) +ready +\S+ +[1-9]\d*/", table, re.MULTILINE)
    if not found:
        raise RuntimeError(f"no worker answers:\n{table}")
    return found[1]


async def strike(folder: Path, recorder: Recorder, begun: asyncio.Event, pids: dict[str, int]) -> None:
    """Kills the worker that answers, once it has begun to."""
    await begun.wait()
    worker = busy(await listed(folder, recorder))
    os.kill(pids[worker], signal.SIGKILL)
    recorder.add("operator", "command", f"kill -9 {pids[worker]}    # {worker}, which writes this answer")
    await asyncio.sleep(0.8)
    await listed(folder, recorder)


async def stream(folder: Path, recorder: Recorder, question: str, begun: asyncio.Event) -> str:
    """Runs `tidegate chat` and notes each piece of the answer as it comes. Returns the answer."""
    recorder.add("client", "command", f'echo "{question}" | tidegate chat --temperature 0')
    environment = {**os.environ, "PYTHONPATH": f"{ROOT}:{ROOT / 'proto/gen'}"}
    chat = await asyncio.create_subprocess_exec(
        *TIDEGATE, "chat", "--temperature", "0", cwd=folder, env=environment,
        stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.DEVNULL,
    )  # fmt: skip
    if not (chat.stdin and chat.stdout):
        raise RuntimeError("tidegate chat has no pipes")
    chat.stdin.write(f"{question}\n".encode())
    chat.stdin.close()
    answer = ""
    while piece := (await chat.stdout.read(65536)).decode():
        answer += piece
        recorder.add("client", "output", piece)
        if len(answer.split()) >= LOOK_AFTER_TOKENS:
            begun.set()
    await chat.wait()
    return answer


async def record() -> list[Event]:
    """Starts a cluster, records the stream and the kill, and stops the cluster."""
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        (folder / "tidegate.yaml").write_text(CONFIG)
        try:
            await tidegate(folder, "up", "--detach")
            question, undisturbed = await choose_question(folder)
            pids = await process_ids(folder)
            recorder, begun = Recorder(), asyncio.Event()
            answer, _ = await asyncio.gather(
                asyncio.wait_for(stream(folder, recorder, question, begun), STREAM_LIMIT_S),
                asyncio.wait_for(strike(folder, recorder, begun, pids), STREAM_LIMIT_S),
            )
        finally:
            await tidegate(folder, "down")
    if answer.strip() != undisturbed.strip():
        raise RuntimeError(f"the answer is not the undisturbed one:\n{answer}\n{undisturbed}")
    summary = (
        f"{len(answer.split())} words, the same as without the kill. Longest gap: {longest_gap(recorder.events):.2f} s."
    )
    recorder.add("client", "note", summary)
    return recorder.events


def longest_gap(events: Sequence[Event]) -> float:
    """Seconds between the two pieces of the answer that are furthest apart."""
    times = [event.at for event in events if event.pane == "client" and event.kind == "output"]
    return max(after - before for before, after in pairwise(times))


# ---- drawing

COLUMNS, LINE_PX, CHARACTER_PX, MARGIN_PX, BAR_PX = 92, 19, 8.43, 16, 30
LONGEST_WAIT_S = 1.0
HOLD_S = 4.0  # how long the last picture stays before the recording begins again
INK = {"command": "#e6edf3", "output": "#9da7b3", "note": "#3fb950", "after": "#58a6ff", "kill": "#ff7b72"}


@dataclass(frozen=True)
class Piece:
    """Text at one place that appears at one time (seconds)."""

    at: float
    row: int
    column: int
    text: str
    ink: str


def words_of(events: Sequence[Event], killed_at: float) -> list[Piece]:
    """Lays the client's terminal out: a command, then an answer that is wrapped at word ends, then a note."""
    pieces, row, column = [], 0, 0
    for event in events:
        if event.kind != "output":
            row += 2 if event.kind == "note" else 0
            prompt = "$ " if event.kind == "command" else ""
            pieces.append(Piece(event.at, row, 0, prompt + event.text, event.kind))
            row, column = row + 1, 0
            continue
        ink = "after" if event.at > killed_at else "output"
        for word in event.text.split():
            if column + len(word) + 1 > COLUMNS:
                row, column = row + 1, 0
            pieces.append(Piece(event.at, row, column, word, ink))
            column += len(word) + 1
    return pieces


def lines_of(events: Sequence[Event]) -> list[Piece]:
    """Lays the operator's terminal out, line by line."""
    pieces: list[Piece] = []
    row = 0
    for event in events:
        ink = "kill" if event.text.startswith("kill") else event.kind
        prompt = "$ " if event.kind == "command" else ""
        for line in event.text.rstrip().splitlines():
            pieces.append(Piece(event.at, row, 0, (prompt + line).rstrip(), ink))
            row += 1
    return pieces


def shown(text: str) -> str:
    """Escapes text for SVG and keeps its columns: programs join ordinary spaces."""
    return escape(text.replace(" ", "\N{NO-BREAK SPACE}"))


def without_waits(events: Sequence[Event]) -> list[Event]:
    """Shortens each time in which neither terminal showed anything, such as the start of a command, to one second."""
    shortened: list[Event] = []
    for before, event in zip([events[0], *events], events, strict=False):
        at = shortened[-1].at + min(event.at - before.at, LONGEST_WAIT_S) if shortened else 0.0
        shortened.append(Event(at, event.pane, event.kind, event.text))
    return shortened


def window(title: str, pieces: Sequence[Piece], top: float) -> tuple[str, float]:
    """Draws one terminal.

    Returns:
        Its SVG and its height in pixels.
    """
    height = BAR_PX + MARGIN_PX + LINE_PX * (max(piece.row for piece in pieces) + 1) + 6
    width = COLUMNS * CHARACTER_PX + 2 * MARGIN_PX
    parts = [
        f'<rect x=".5" y="{top + 0.5}" width="{width - 1:.0f}" height="{height - 1}" rx="8" class="window"/>',
        f'<text x="{MARGIN_PX}" y="{top + 20}" class="title">{escape(title)}</text>',
    ]
    for piece in pieces:
        x = MARGIN_PX + piece.column * CHARACTER_PX
        y = top + BAR_PX + MARGIN_PX + piece.row * LINE_PX
        length = f' textLength="{len(piece.text) * CHARACTER_PX:.1f}"' if len(piece.text) > 1 else ""
        delay = f' style="animation-name:at{round(piece.at * 1000)}"'
        parts.append(f'<text x="{x:.1f}" y="{y}" class="shown {piece.ink}"{length}{delay}>{shown(piece.text)}</text>')
    return "\n".join(parts), height


def draw(events: Sequence[Event]) -> str:
    """Draws the recording.

    The picture plays again and again, in real time except for long waits (without_waits). Programs that know no
    animation, and readers who want no motion, see its end.
    """
    events = without_waits(events)
    total_s = events[-1].at + HOLD_S
    killed_at = next(event.at for event in events if event.text.startswith("kill"))
    client = words_of([event for event in events if event.pane == "client"], killed_at)
    operator = lines_of([event for event in events if event.pane == "operator"])
    upper, upper_height = window("a client (blue: words after the kill, from another worker)", client, 0)
    lower, lower_height = window("the operator", operator, upper_height + 10)
    width, height = COLUMNS * CHARACTER_PX + 2 * MARGIN_PX, upper_height + 10 + lower_height
    moments = sorted({round(piece.at * 1000) for piece in (*client, *operator)})
    frames = "\n".join(
        f"@keyframes at{moment}{{0%{{opacity:0}}{moment / 10 / total_s:.3f}%,100%{{opacity:1}}}}" for moment in moments
    )
    inks = "\n".join(f".{name}{{fill:{colour}}}" for name, colour in INK.items())
    return f"""<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width:.0f} {height}" role="img" \
aria-label="A chat goes on, word for word, while the worker that writes it is killed.">
<style>
text{{font:14px ui-monospace,SFMono-Regular,Menlo,Consolas,"DejaVu Sans Mono",monospace;white-space:pre}}
.window{{fill:#0d1117;stroke:#6e7681}}
.title{{fill:#7d8590;font-size:12px}}
.shown{{animation:{total_s:.2f}s step-end infinite}}
{inks}
{frames}
@media (prefers-reduced-motion:reduce){{.shown{{animation:none}}}}
</style>
{upper}
{lower}
</svg>
"""


def main() -> None:
    """Records, unless told to draw only; then draws."""
    options = argparse.ArgumentParser(description="Record a stream that survives its worker, and draw it.")
    options.add_argument("--draw-only", action="store_true", help="draw docs/images/failover.jsonl again")
    if not options.parse_args().draw_only:
        events = asyncio.run(record())
        RECORDING.write_text("".join(json.dumps(asdict(event)) + "\n" for event in events))
    recorded = [Event(**json.loads(line)) for line in RECORDING.read_text().splitlines()]
    PICTURE.write_text(draw(recorded))
    sys.stdout.write(f"{PICTURE.relative_to(ROOT)}: {recorded[-1].text}\n")


if __name__ == "__main__":
    main()
