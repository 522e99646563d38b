from services.gateway.generation.progress import Progress
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
