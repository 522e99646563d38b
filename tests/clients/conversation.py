"""What every client of the matrix asks, and what it must see: the prompts tell the simulated engine its answers."""

import json
from typing import Any

MODEL = "tide"
GREETING = "The tide turns at six."
STORY = "High water is at noon and low water is at dusk."
CALL = {"harbour": "Brest"}
RESULT = "high at noon"
TIDE = {"harbour": "Brest", "rising": True}
COMMAND = "printf Brest > harbour.txt && cat tide.txt"
"""What an agent is told to run in a shell. `tide.txt` in its folder holds RESULT."""


def prompt(text: str, **script: Any) -> str:
    """Returns a prompt after which the simulated engine answers as the script says."""
    return f"{text} SCRIPT: {json.dumps(script)}"


ASKED = {
    "hello": prompt("When does the tide turn?", say=GREETING),
    "stream": prompt("Tell me of the tide.", say=STORY),
    "tools": prompt("Ask the tide table for Brest.", call={"name": "tide_table", "arguments": CALL}),
    # Clients that want a structure by a call offer a function of this name, and no text is wanted from them.
    "structured": prompt(
        "Is the tide rising in Brest?", say=json.dumps(TIDE), call={"name": "Tide", "arguments": TIDE}
    ),
    "command": COMMAND,
    "result": RESULT,
}
"""What the programs get, as JSON in the variable ASKED."""
