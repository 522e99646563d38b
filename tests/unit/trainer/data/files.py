"""Data files as people have them: how each is written, and what becomes of it."""

import gzip
import json
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

QUESTION = {"role": "user", "content": "When is high tide?"}
ANSWER = {"role": "assistant", "content": "At noon."}
CHAT = {"messages": [QUESTION, ANSWER]}
TOOL = {"type": "function", "function": {"name": "tide", "parameters": {"type": "object", "properties": {}}}}
CALL = {"id": "call-1", "type": "function", "function": {"name": "tide", "arguments": '{"port": "Quillhaven"}'}}
PAIR = ("When is high tide?", "At noon.")


@dataclass(frozen=True, slots=True)
class Converted:
    """What the first sample says: role and content of each turn, or the text. A learnt turn has a `*`."""

    turns: list[tuple[str, str]]
    conversions: tuple[str, ...] = ()
    kept_out: tuple[str, ...] = ()
    dropped: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Refused:
    """The place, and words of the sentence."""

    place: str
    sentence: str


@dataclass(frozen=True, slots=True)
class Case:
    """`row`: the first cell of the row in docs/training.md. `file`: its name; `write` makes it."""

    row: str
    file: str
    write: Callable[[Path], object]
    outcome: Converted | Refused


TWO_TURNS = [("user", PAIR[0]), ("assistant*", PAIR[1])]


def lines(*records: Any, end: str = "\n", start: str = "") -> bytes:
    return (start + "".join(json.dumps(record, ensure_ascii=False) + end for record in records)).encode()


def write(content: bytes) -> Callable[[Path], object]:
    return lambda file: file.write_bytes(content)


def twice(record: Any) -> Callable[[Path], object]:
    return write(lines(record, record))


def zstd(content: bytes) -> Callable[[Path], object]:
    def make(file: Path) -> None:
        import pyarrow

        with pyarrow.OSFile(str(file), "wb") as raw, pyarrow.CompressedOutputStream(raw, "zstd") as out:
            out.write(content)

    return make


def parquet(records: Iterable[dict[str, Any]]) -> Callable[[Path], object]:
    def make(file: Path) -> None:
        import pyarrow
        from pyarrow import parquet

        parquet.write_table(pyarrow.Table.from_pylist(list(records)), file)

    return make


def folder(files: dict[str, bytes]) -> Callable[[Path], object]:
    def make(place: Path) -> None:
        for name, content in files.items():
            (place / name).parent.mkdir(parents=True, exist_ok=True)
            (place / name).write_bytes(content)

    return make


SHAREGPT = {
    "id": "identity_0",
    "conversations": [
        {"from": "gpt", "value": "Hello."},
        {"from": "human", "value": PAIR[0]},
        {"from": "gpt", "value": PAIR[1]},
        {"from": "human", "value": "Thanks"},
    ],
}
WITH_TOOLS = {
    "tools": [TOOL],
    "messages": [
        {"role": "developer", "content": "Be short."},
        {
            "role": "user",
            "name": "Odile",
            "content": [{"type": "text", "text": "When is "}, {"type": "text", "text": "it?"}],
        },
        {"role": "assistant", "content": None, "tool_calls": [CALL], "weight": 0},
        {"role": "tool", "tool_call_id": "call-1", "content": ""},
        {"role": "assistant", "content": "At noon.", "weight": 1},
    ],
}
HH = "\n\nHuman: When is high tide?\n\nAssistant: "
IMAGE = {"role": "user", "content": [{"type": "image_url", "image_url": {"url": "data:"}}]}

CASES = (
    Case("OpenAI messages", "a.jsonl", twice(CHAT), Converted(TWO_TURNS)),
    Case(
        "OpenAI messages with tools, `weight`, `name`, `developer`, parts",
        "a.jsonl",
        twice(WITH_TOOLS),
        Converted(
            [
                ("system", "Be short."),
                ("user", "When is it?"),
                ("assistant", ""),
                ("tool", ""),
                ("assistant*", "At noon."),
            ],
            ("content parts were joined", "developer became system"),
        ),
    ),
    Case(
        "messages with parts that are images",
        "a.jsonl",
        twice({"messages": [IMAGE, ANSWER]}),
        Refused("a.jsonl:1", "only parts of type text"),
    ),
    Case(
        "ShareGPT, cut out of a longer chat, with `id`",
        "a.json",
        write(json.dumps([SHAREGPT, SHAREGPT]).encode()),
        Converted(
            TWO_TURNS,
            ("turns after the last answer are left out", "turns before the first question are left out"),
            ("id",),
        ),
    ),
    Case(
        "Alpaca, some outputs empty",
        "a.json",
        write(
            json.dumps(
                [
                    {"instruction": PAIR[0], "input": "Today.", "output": PAIR[1]},
                    {"instruction": "a", "output": ""},
                    {"instruction": "b", "input": "", "output": "c"},
                ]
            ).encode()
        ),
        Converted([("user", PAIR[0] + "\n\nToday."), TWO_TURNS[1]], dropped=("a turn is empty or null",)),
    ),
    Case(
        "prompt and completion, as CSV of Excel (BOM, CRLF, line ends in quotes)",
        "a.csv",
        write(b'\xef\xbb\xbfprompt,completion,id\r\n"When is\r\nhigh tide?","At ""noon"".",1\r\nb,c,2\r\n'),
        Converted([("user", "When is\r\nhigh tide?"), ("assistant*", 'At "noon".')], kept_out=("id",)),
    ),
    Case(
        "prompt and completion as messages (TRL)",
        "a.jsonl",
        twice({"prompt": [QUESTION], "completion": [ANSWER]}),
        Converted(TWO_TURNS),
    ),
    Case(
        "preference pairs, explicit (TRL)",
        "a.jsonl",
        twice({"prompt": PAIR[0], "chosen": PAIR[1], "rejected": "No."}),
        Converted([*TWO_TURNS, ("assistant*", "No.")]),
    ),
    Case(
        "preference pairs, implicit, as messages (TRL)",
        "a.parquet",
        parquet(
            [{"chosen": [QUESTION, ANSWER], "rejected": [QUESTION, {**ANSWER, "content": "No."}], "score": 1.5}] * 2
        ),
        Converted([*TWO_TURNS, ("assistant*", "No.")], kept_out=("score",)),
    ),
    Case(
        "preference pairs as texts (HH-RLHF)",
        "a.jsonl.gz",
        write(gzip.compress(lines(*[{"chosen": HH + "At noon.", "rejected": HH + "No."}] * 2))),
        Converted([*TWO_TURNS, ("assistant*", "No.")], ("Human and Assistant became turns",)),
    ),
    Case(
        "good or bad without a pair (KTO)",
        "a.jsonl",
        twice({"prompt": PAIR[0], "completion": PAIR[1], "label": False}),
        Converted(TWO_TURNS),
    ),
    Case(
        "texts",
        "a.jsonl.zst",
        zstd(lines({"text": "The tide."}, {"text": "The moon."})),
        Converted([("text", "The tide.")]),
    ),
    Case(
        "a folder of plain texts, with a README",
        "texts",
        folder({"b/b.txt": b"The\r\nmoon.", "a.txt": b"\xef\xbb\xbfThe tide.", "README.md": b"#", ".git/x.txt": b"x"}),
        Converted([("text", "The tide.")], ("line ends became line feeds",)),
    ),
    Case(
        "messages with BOM, CRLF, empty lines, U+2028",
        "a.jsonl",
        write(lines({"messages": [{**QUESTION, "content": "a\u2028b"}, ANSWER]}, CHAT, end="\r\n\r\n", start="\ufeff")),
        Converted([("user", "a\u2028b"), TWO_TURNS[1]]),
    ),
    Case(
        "a text that a program cut in the middle of an emoji",
        "a.jsonl",
        write(lines(CHAT) + b'{"messages": [{"role": "user", "content": "\\ud83d"}]}\n'),
        Refused("a.jsonl:2", "half a character (\\ud83d"),
    ),
    Case(
        "the same key twice",
        "a.jsonl",
        write(b'{"text": "a", "text": "b"}\n'),
        Refused("a.jsonl:1", '"text" stands twice'),
    ),
    Case(
        "null turns",
        "a.jsonl",
        write(lines(CHAT, {"messages": [QUESTION, {**ANSWER, "content": None}]}, CHAT)),
        Converted(TWO_TURNS, dropped=("a turn is empty or null",)),
    ),
    Case(
        "one object over several lines",
        "a.json",
        write(json.dumps(CHAT, indent=2).encode()),
        Refused("a.json:1", "write each on one line (JSONL)"),
    ),
    Case(
        "UTF-16 from a text editor", "a.txt", write("The tide.".encode("utf-16")), Refused("a.txt", "save it as UTF-8")
    ),
    Case("CSV with semicolons", "a.csv", write(b"prompt;completion\na;b\n"), Refused("a.csv:1", "separated by ';'")),
    Case(
        "a file that is not packed, called .gz",
        "a.jsonl.gz",
        write(lines(CHAT)),
        Refused("a.jsonl.gz", "is not gzip, though its name ends in .gz"),
    ),
    Case(
        "a packed file whose end is missing",
        "a.jsonl.gz",
        write(gzip.compress(lines(CHAT) * 100)[:-9]),
        Refused("a.jsonl.gz", "ends too early"),
    ),
    Case(
        "other field names",
        "a.jsonl",
        twice({"question": "a", "answer": "b"}),
        Refused("a.jsonl:1", "no form has these fields (answer, question)"),
    ),
    Case(
        "a pickle, or any other file",
        "a.pkl",
        write(b"\x80\x04."),
        Refused("a.pkl", "the name does not say what the file is"),
    ),
)
