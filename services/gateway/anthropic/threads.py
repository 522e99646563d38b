"""Threads, in which Anthropic keeps a conversation between requests. Nothing is kept here."""

from typing import Any

from services.shared.errors import NotFound

THREAD_NOT_FOUND = "thread_not_found"
"""Anthropic's clients look for this code in `error.details`; then they send the whole conversation."""


def check_complete(body: dict[str, Any]) -> None:
    """Refuses the rest of a conversation whose beginning the server would have to know.

    To begin a thread is a hint like any other, which is left out.

    Raises:
        NotFound: the request continues a thread.
    """
    thread = body.get("thread")
    if isinstance(thread, dict) and thread.get("type") == "continue":
        raise NotFound(
            "threads are not kept here: send all messages of the conversation",
            param="thread.previous_message_id",
            code=THREAD_NOT_FOUND,
        )
