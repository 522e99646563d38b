from services.gateway.generation.progress import Progress, VersionSpan
from tidegate.worker.v1 import worker_pb2 as pb


def test_another_worker_continues_where_the_last_delta_ended() -> None:
    progress = Progress(choices_expected=2)
    progress.start(pb.Started(model_version="v1", prompt_tokens=9, cached_tokens=4, resumable=True))
    progress.take(pb.Delta(choice=0, token_ids=[1, 2], text_end=5))
    progress.take(pb.Delta(choice=1, token_ids=[3], text_end=2, finish_reason=pb.FINISH_REASON_STOP))
    progress.take(pb.Delta(choice=0, token_ids=[4], text_end=6))
    assert progress.resume_points() == [
        pb.ResumePoint(choice=0, token_ids=[1, 2, 4], text_offset=6),
        pb.ResumePoint(choice=1, token_ids=[3], text_offset=2, finished=True),
    ]
    assert progress.usage() == pb.Usage(prompt_tokens=9, cached_tokens=4, completion_tokens=4)
    assert not progress.complete


def test_the_cost_of_the_prompt_is_that_of_the_first_worker() -> None:
    progress = Progress(choices_expected=1)
    progress.start(pb.Started(model_version="v1", prompt_tokens=9, cached_tokens=0))
    progress.take(pb.Delta(token_ids=[1], text_end=1))
    progress.start(pb.Started(model_version="v1", prompt_tokens=9, cached_tokens=8))
    assert progress.cached_tokens == 0


def test_an_answer_is_complete_when_every_choice_has_ended() -> None:
    progress = Progress(choices_expected=2)
    for choice in range(2):
        assert not progress.complete
        progress.take(pb.Delta(choice=choice, token_ids=[1], finish_reason=pb.FINISH_REASON_LENGTH))
    assert progress.complete


def change(progress: Progress, version: str) -> None:
    progress.start(pb.Started(model_version=version, resumable=True))


def give(progress: Progress, tokens: int, choice: int = 0) -> None:
    progress.take(pb.Delta(choice=choice, token_ids=range(tokens), text_end=1))


def test_an_answer_says_which_tokens_came_from_which_version() -> None:
    progress = Progress(choices_expected=2)
    change(progress, "v1")
    give(progress, 3)
    assert progress.spans() == ()
    change(progress, "v2")
    give(progress, 2)
    give(progress, 4, choice=1)
    assert progress.spans() == (
        VersionSpan(0, "v1", 0, 3),
        VersionSpan(0, "v2", 3, 2),
        VersionSpan(1, "v2", 0, 4),
    )


def test_a_version_that_gave_nothing_is_not_named() -> None:
    progress = Progress(choices_expected=1)
    change(progress, "v0")
    change(progress, "v1")
    give(progress, 3)
    change(progress, "v2")
    change(progress, "v1")
    give(progress, 2)
    assert progress.spans() == ()
    change(progress, "v3")
    give(progress, 1)
    assert progress.spans() == (VersionSpan(0, "v1", 0, 5), VersionSpan(0, "v3", 5, 1))
