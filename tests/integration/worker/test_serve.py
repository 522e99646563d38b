"""WorkerService.Serve over real gRPC: many requests on one stream, and every way in which one can end."""

import grpc
import pytest
from prometheus_client import CollectorRegistry

from services.shared import rpc
from services.shared.clock import SystemClock
from services.worker.app import WorkerApp
from services.worker.engine.simulated.faults import Faults
from services.worker.metrics import Metrics
from services.worker.serve import WorkerService
from services.worker.status import State
from tests.integration.worker.gateway import Gateway, connected
from tests.support.wait import wait_until
from tidegate.worker.v1 import worker_pb2 as pb
from tidegate.worker.v1 import worker_pb2_grpc


def endless(**fields: object) -> pb.Sampling:
    return pb.Sampling(ignore_eos=True, **fields)  # type: ignore[arg-type]


async def frees(worker: WorkerApp) -> None:
    await wait_until(
        lambda: worker.status.requests == 0 and worker.engine.load().kv_tokens_used == 0,
        description="the worker is free",
    )


async def test_requests_share_a_stream_and_their_deltas_share_messages(worker: WorkerApp) -> None:
    async with connected(worker.address) as gateway:
        for stream_id in range(1, 7):
            await gateway.start(stream_id, f"prompt {stream_id}", endless(max_tokens=30))
        for stream_id in range(1, 7):
            ended = await gateway.end_of(stream_id)
            assert not ended.HasField("failure")
            assert (ended.attempt, ended.usage.completion_tokens, len(gateway.tokens(stream_id))) == (1, 30, 30)
        sizes = [len(response.deltas) for response in gateway.responses]
        assert max(sizes) >= 6
        assert len(sizes) < 60
        assert {response.worker_epoch for response in gateway.responses} == {worker.status.identity.epoch}
        steps = [response.step for response in gateway.responses]
        assert steps == sorted(steps)
    await frees(worker)


async def test_started_names_version_and_prompt(worker: WorkerApp) -> None:
    async with connected(worker.address) as gateway:
        await gateway.start(1, "hello", endless(max_tokens=1))
        await gateway.end_of(1)
        (started,) = [frame for response in gateway.responses for frame in response.started]
        assert started.model_version == worker.engine.info.model_version
        assert started.prompt_tokens == 5


async def test_cancel_ends_the_attempt_that_it_names(worker: WorkerApp) -> None:
    async with connected(worker.address) as gateway:
        await gateway.start(1, sampling=endless())
        await wait_until(lambda: gateway.tokens(1), description="tokens flow")
        await gateway.cancel(1, attempt=2)
        await gateway.cancel(1)
        assert (await gateway.end_of(1)).failure.kind == pb.FAILURE_KIND_CANCELLED
        assert len(gateway.tokens(1)) < 500
        await frees(worker)


async def test_no_token_is_sent_without_credit(worker: WorkerApp) -> None:
    async with connected(worker.address) as gateway:
        await gateway.start(1, sampling=endless(max_tokens=40), credit_tokens=10)
        await gateway.start(2, sampling=endless(max_tokens=40))
        await gateway.end_of(2)
        assert len(gateway.tokens(1)) == 10
        await gateway.credit(1, 5)
        await wait_until(lambda: len(gateway.tokens(1)) == 15, description="the credit is used")
        await gateway.credit(1, 100)
        await gateway.end_of(1)
        assert len(gateway.tokens(1)) == 40


async def test_an_answer_that_may_be_held_back_comes_in_few_deltas(worker: WorkerApp) -> None:
    held = pb.HoldBack(tokens=16, ms=60_000)
    async with connected(worker.address) as gateway:
        await gateway.start(1, sampling=endless(max_tokens=40))
        await gateway.start(2, sampling=endless(max_tokens=40), hold_back=held)
        await gateway.start(3, sampling=endless(max_tokens=40), hold_back=held, credit_tokens=32)
        await gateway.end_of(1)
        await gateway.end_of(2)
        await wait_until(lambda: len(gateway.tokens(3)) == 17, description="the credit is used")
        await gateway.credit(3, 100)
        await gateway.end_of(3)
        assert gateway.tokens(3) == gateway.tokens(2) == gateway.tokens(1)
        assert gateway.sizes(2) == [1, 16, 16, 7]
        assert gateway.text(2) == gateway.text(1)


async def test_a_request_that_ends_early_sends_what_was_held_back(worker: WorkerApp) -> None:
    async with connected(worker.address) as gateway:
        await gateway.start(1, sampling=endless(), hold_back=pb.HoldBack(tokens=500, ms=60_000))
        await gateway.start(2, sampling=endless(max_tokens=20))
        await gateway.end_of(2)
        assert gateway.sizes(1) == [1]
        await gateway.cancel(1)
        assert (await gateway.end_of(1)).failure.kind == pb.FAILURE_KIND_CANCELLED
        assert gateway.tokens(1)[:20] == gateway.tokens(2)


@pytest.mark.parametrize("politely", [True, False])
async def test_a_gateway_that_leaves_frees_everything(worker: WorkerApp, politely: bool) -> None:
    async with connected(worker.address) as gateway:
        for stream_id in range(1, 13):
            await gateway.start(stream_id, f"prompt {stream_id}", endless(), credit_tokens=stream_id % 3)
        await wait_until(lambda: worker.engine.load().running == 8, description="the engine is full")
        if politely:
            await gateway.hang_up()
            await frees(worker)
    await frees(worker)


async def test_a_deadline_ends_the_request(worker: WorkerApp) -> None:
    async with connected(worker.address) as gateway:
        await gateway.start(1, sampling=endless(), timeout_ms=30)
        assert (await gateway.end_of(1)).failure.kind == pb.FAILURE_KIND_DEADLINE
        await frees(worker)


async def test_a_resumed_request_continues_with_the_next_token(worker: WorkerApp) -> None:
    async with connected(worker.address) as gateway:
        await gateway.start(1, sampling=endless(max_tokens=20))
        await gateway.end_of(1)
        whole = gateway.tokens(1)
        point = pb.ResumePoint(choice=0, token_ids=whole[:8], text_offset=8 * 5)
        await gateway.start(2, sampling=endless(max_tokens=20), resume=[point])
        await gateway.end_of(2)
        assert gateway.tokens(2) == whole[8:]


@pytest.mark.parametrize(
    ("fields", "kind"),
    [
        ({"sampling": pb.Sampling(max_tokens=1000)}, pb.FAILURE_KIND_CONTEXT_LENGTH),
        ({"sampling": pb.Sampling(regex="a*")}, pb.FAILURE_KIND_INVALID),
        ({"model_version": "0" * 64}, pb.FAILURE_KIND_WRONG_VERSION),
        ({"adapter": "pirate"}, pb.FAILURE_KIND_INVALID),
        ({"text": ""}, pb.FAILURE_KIND_INVALID),
    ],
    ids=["too long", "structure", "version", "adapter", "empty"],
)
async def test_refusals_say_whose_fault_it_is(worker: WorkerApp, fields: dict[str, object], kind: int) -> None:
    async with connected(worker.address) as gateway:
        await gateway.start(1, **fields)  # type: ignore[arg-type]
        assert (await gateway.end_of(1)).failure.kind == kind


async def test_a_stream_id_in_use_is_refused(worker: WorkerApp) -> None:
    async with connected(worker.address) as gateway:
        await gateway.start(1, sampling=endless())
        await gateway.start(1, sampling=endless())
        assert (await gateway.end_of(1)).failure.kind == pb.FAILURE_KIND_INVALID
        assert worker.status.requests == 1


async def test_a_draining_worker_takes_nothing_new(worker: WorkerApp) -> None:
    async with connected(worker.address) as gateway:
        worker.status.enter(State.DRAINING)
        await gateway.start(1)
        assert (await gateway.end_of(1)).failure.kind == pb.FAILURE_KIND_DRAINING


async def test_a_dead_engine_fails_its_requests_at_once(worker: WorkerApp, faults: Faults) -> None:
    async with connected(worker.address) as gateway:
        await gateway.start(1, sampling=endless())
        await wait_until(lambda: gateway.tokens(1), description="tokens flow")
        faults.crash = True
        assert (await gateway.end_of(1)).failure.kind == pb.FAILURE_KIND_ENGINE
        await wait_until(worker.ended.is_set, description="the worker gives up")
        assert worker.live() == "the engine crashed"


async def test_another_epoch_is_refused(worker: WorkerApp) -> None:
    epoch = worker.status.identity.epoch
    assert await hello(worker.address, epoch + 1) is grpc.StatusCode.FAILED_PRECONDITION
    assert await hello(worker.address, epoch) is grpc.StatusCode.OK


async def test_a_stream_without_hello_is_refused(worker: WorkerApp) -> None:
    assert await hello(worker.address, None) is grpc.StatusCode.FAILED_PRECONDITION


async def test_a_gateway_that_says_nothing_is_not_waited_for(worker: WorkerApp) -> None:
    server = rpc.server()
    impatient = WorkerService(
        worker.engine, worker.status, Metrics(CollectorRegistry(), worker.engine.load), SystemClock(), hello_s=0.05
    )
    worker_pb2_grpc.add_WorkerServiceServicer_to_server(impatient, server)
    port = rpc.bind(server, "127.0.0.1:0")
    await server.start()
    try:
        async with rpc.channel(f"127.0.0.1:{port}") as channel:
            call = worker_pb2_grpc.WorkerServiceStub(channel).Serve()
            assert await call.code() is grpc.StatusCode.FAILED_PRECONDITION
    finally:
        await server.stop(0)


async def test_frames_tell_where_and_whether_another_worker_goes_on(worker: WorkerApp) -> None:
    async with connected(worker.address) as gateway:
        await gateway.start(1, sampling=endless(max_tokens=20))
        await gateway.end_of(1)
        assert [frame.resumable for response in gateway.responses for frame in response.started] == [True]
        deltas = [delta for response in gateway.responses for delta in response.deltas]
        written = 0
        for delta in deltas:
            written += len(delta.text)
            assert delta.text_end == written
        assert written


async def test_a_preempted_request_frees_its_slot_at_once(worker: WorkerApp) -> None:
    async with connected(worker.address) as gateway:
        await gateway.start(1, sampling=endless(), credit_tokens=5)
        await wait_until(lambda: len(gateway.tokens(1)) == 5, description="it waits for credit")
        await gateway.cancel(1, reason=pb.CANCEL_REASON_PREEMPTED)
        assert (await gateway.end_of(1)).failure.kind == pb.FAILURE_KIND_CANCELLED
        await frees(worker)


async def hello(address: str, epoch: int | None) -> grpc.StatusCode:
    """Status of a stream that says Hello (or, without an epoch, something else) and hangs up."""
    async with rpc.channel(address) as channel:
        call = worker_pb2_grpc.WorkerServiceStub(channel).Serve()
        if epoch is None:
            await call.write(pb.ServeRequest(frames=[pb.ServeFrame(credit=pb.Credit(stream_id=1, tokens=1))]))
        else:
            await Gateway(call).hello(epoch)
        await call.done_writing()
        return await call.code()
