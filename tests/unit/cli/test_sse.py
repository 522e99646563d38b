import pytest

from services.cli.chat import Answer
from services.cli.sse import chunks


def test_documents_end_at_done() -> None:
    lines = ['data: {"a": 1}', "", ": comment", "event: x", 'data:{"a": 2}', "data: [DONE]", 'data: {"a": 3}']
    assert list(chunks(lines)) == [{"a": 1}, {"a": 2}]


@pytest.mark.parametrize(
    ("answer", "said"),
    [
        (Answer(asked=1.0), "no answer"),
        (
            Answer(asked=1.0, first=1.5, ended=3.0, usage={"completion_tokens": 7}),
            "7 tokens, first after 0.50 s, 2.00 s in all",
        ),
        (Answer(asked=1.0, first=1.5, ended=3.0, stopped=True), "first after 0.50 s, 2.00 s in all, stopped"),
    ],
)
def test_figures(answer: Answer, said: str) -> None:
    assert answer.figures() == said
