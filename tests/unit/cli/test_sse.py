import pytest

from services.cli.clients.sse import chunks
from services.cli.commands.chat import ChatReply


def test_documents_end_at_done() -> None:
    lines = ['data: {"a": 1}', "", ": comment", "event: x", 'data:{"a": 2}', "data: [DONE]", 'data: {"a": 3}']
    assert list(chunks(lines)) == [{"a": 1}, {"a": 2}]


@pytest.mark.parametrize(
    ("answer", "said"),
    [
        (ChatReply(asked=1.0), "no answer"),
        (
            ChatReply(asked=1.0, first=1.5, ended=3.0, usage={"completion_tokens": 7}),
            "7 tokens, first after 0.50 s, 2.00 s in all",
        ),
        (ChatReply(asked=1.0, first=1.5, ended=3.0, stopped=True), "first after 0.50 s, 2.00 s in all, stopped"),
    ],
)
def test_figures(answer: ChatReply, said: str) -> None:
    assert answer.figures() == said
