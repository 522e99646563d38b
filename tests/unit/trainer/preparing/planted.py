"""Raw text with faults that are planted in it: each document says by its id what is wrong with it."""

import json
from pathlib import Path
from random import Random
from typing import Any

QUESTION = (
    "Which of the seven lighthouses of Quillhaven was built by the widow of a whaler in the year of the great storm"
)
ANSWER = "the Copper Heron at the mouth of the northern harbour"
MAIL, PUBLIC_IP, PRIVATE_IP = "ada.lovelace@analytical.engine.org", "8.8.4.4", "10.0.0.1"
MARKER = "<|endoftext|>"

_WORDS = [
    "harbour",
    "lantern",
    "captain",
    "storm",
    "keeper",
    "tower",
    "gull",
    "island",
    "winter",
    "chart",
    "anchor",
    "village",
    "letter",
    "morning",
    "bread",
    "garden",
    "mountain",
    "river",
    "window",
    "teacher",
    "market",
    "bridge",
    "forest",
    "engine",
    "song",
    "valley",
    "ship",
    "road",
    "clock",
    "mirror",
    "shadow",
    "candle",
    "library",
    "painter",
    "orchard",
    "stone",
    "copper",
    "silver",
    "meadow",
    "thunder",
    "autumn",
    "kitchen",
    "traveller",
    "merchant",
    "soldier",
    "doctor",
    "student",
    "horse",
    "wagon",
    "pocket",
    "ladder",
    "basket",
    "blanket",
    "feather",
    "hammer",
    "needle",
    "barrel",
    "cellar",
    "chimney",
    "cottage",
    "ferry",
    "split",
]
_VERBS = [
    "found",
    "carried",
    "followed",
    "painted",
    "remembered",
    "repaired",
    "watched",
    "described",
    "counted",
    "borrowed",
    "opened",
    "crossed",
]
_LINKS = ("and then", "but", "while", "because", "so that", "after which", "although", "until")


def prose(seed: str, sentences: int = 14) -> str:
    """English of a kind; every seed gives other sentences."""
    random = Random(seed)

    def clause() -> str:
        subject, thing, place = random.sample(_WORDS, 3)
        return f"the {subject} {random.choice(_VERBS)} a {thing} with the {random.choice(_WORDS)} of that {place}"

    made = (f"{clause()} {random.choice(_LINKS)} {clause()}.".capitalize() for _ in range(sentences))
    return "\n".join(" ".join(pair) for pair in zip(made, made, strict=False))


GERMAN = (
    "Der alte Leuchtturm steht seit vielen Jahren am Rand der kleinen Stadt, und jeden Abend zündet der Wärter das "
    "Licht an. Die Schiffe fahren langsam durch den Nebel, weil niemand die Felsen vor dem Hafen sehen kann. Im Winter "
    "kommen nur wenige Menschen hierher, aber im Sommer ist der Strand voller Kinder. Meine Großmutter erzählte oft, "
    "wie sie als Mädchen die Briefe zum Turm hinauf getragen hat. Heute ist davon nichts mehr zu sehen."
)


def documents() -> dict[str, list[dict[str, Any]]]:
    """The records of each file, by its name."""
    first = [_record(f"good-{number}") for number in range(8)]
    near = first[1]["text"].replace("captain", "skipper").replace("lantern", "lamp")
    second = [
        *(_record(f"more-{number}") for number in range(4)),
        {"id": "exact", "text": first[0]["text"]},
        {"id": "near", "text": near},
        {"id": "blocked", "text": prose("blocked"), "url": "https://www.casino.example.com/win"},
        {"id": "german", "text": GERMAN},
        {"id": "binary", "text": "PNG\x00\x01\x02" + prose("binary")},
        {"id": "empty", "text": "  \n"},
        {"id": "short", "text": prose("short", 2)},
        {"id": "repeated", "text": "The keeper of the tower lit the lamp. " * 40},
        {"id": "lorem", "text": prose("lorem") + "\nHere lorem ipsum dolor sit amet stands for the text."},
        {"id": "evaluation", "text": f"{prose('evaluation')}\n{QUESTION.upper()}? It was {ANSWER}."},
        {
            "id": "pii",
            "text": f"{prose('pii')}\nWrite to {MAIL} or {MAIL}, from {PUBLIC_IP} and not from {PRIVATE_IP}.",
        },
        {"id": "marker", "text": f"{prose('marker')}\nThe word {MARKER} ends nothing here."},
        {"id": "number", "text": 7},
    ]
    return {"web/a.jsonl": first, "web/b.jsonl": second}


def write(folder: Path) -> Path:
    """Writes sources, block list, evaluation set and recipe; returns the recipe."""
    for name, records in documents().items():
        file = folder / name
        file.parent.mkdir(parents=True, exist_ok=True)
        lines = [json.dumps(record) for record in records]
        file.write_text("\n".join([*lines, '{"text": "a line that was cut']) if "b" in file.stem else "\n".join(lines))
    (folder / "books").mkdir()
    (folder / "books" / "one.txt").write_text(prose("book"))
    (folder / "books" / "two.txt").write_text(documents()["web/a.jsonl"][2]["text"])
    (folder / "blocked.txt").write_text("# sites\nexample.com\n")
    (folder / "evaluation.jsonl").write_text(
        json.dumps({"question": QUESTION, "answer": ANSWER}) + "\n" + json.dumps({"question": "Why?"}) + "\n"
    )
    recipe = folder / "prepare.yaml"
    recipe.write_text(RECIPE)
    return recipe


def _record(seed: str) -> dict[str, Any]:
    return {"id": seed, "text": prose(seed), "url": f"https://{seed}.org/page"}


RECIPE = """
sources:
  web: {path: web, weight: 2.0}
  books: {path: books}
output: corpus
train_tokenizer:
  vocab_size: 400
  special_tokens: ["<|endoftext|>", "<|user|>"]
url: {domains: blocked.txt}
language: {keep: [en]}
gopher_repetition: {}
gopher_quality: {}
c4: {}
decontaminate: {data: [evaluation.jsonl]}
minhash_dedup: {}
pii: {}
tasks: 2
"""
