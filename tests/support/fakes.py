"""A fake router and a fake worker: they speak the real protocols and behave as a test tells them."""

import asyncio
import struct
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field
from typing import Any

import grpc

from services.shared import rpc
from tidegate.router.v1 import router_pb2, router_pb2_grpc
from tidegate.worker.v1 import worker_pb2, worker_pb2_grpc

MODEL = "tiny-chat"
EMBEDDER = "tiny-embed"
VERSION = "v-0123456789ab"
CONTEXT_TOKENS = 4096


def word(choice: int, index: int) -> str:
    """The text of a token. It is unique, so that a lost, repeated or wrong token is visible."""
    return f"c{choice}t{index} "


def text(tokens: int, choice: int = 0) -> str:
    """The text of the first tokens of a choice."""
    return "".join(word(choice, index) for index in range(tokens))


def vector(given: worker_pb2.Input) -> list[float]:
    """The vector of an input: its length, and its first byte or token."""
    said = given.text.encode() or list(given.token_ids.ids)
    return [float(len(said)), float(said[0])]


@dataclass
class Behaviour:
    """How the fake worker treats each request."""

    tokens: int = 5
    refuse: "worker_pb2.FailureKind.ValueType | None" = None
    # Which requests are refused, and when.
    refuses: Callable[[worker_pb2.Start], bool] = lambda start: True
    refuses_after: asyncio.Event | None = None
    # Sends nothing more after this many tokens of each choice.
    hang_after: int | None = None
    # Ends the first attempt after this many tokens of each choice with this failure, and has `next_version` then.
    moves_after: int | None = None
    moves_as: "worker_pb2.FailureKind.ValueType" = worker_pb2.FAILURE_KIND_RECOMPUTE
    next_version: str = "v-fedcba987654"
    # Once this event is set, the worker continues where it stopped.
    wakes: asyncio.Event | None = None
    resumable: bool = False
    reported_epoch: int | None = None
    delta: Callable[[worker_pb2.Delta], None] = lambda delta: None


class FakeServer:
    """A gRPC server on a free port of this machine."""

    def __init__(self) -> None:
        self._server = rpc.server()
        self.listen = "127.0.0.1:0"
        self.address = ""

    async def start(self) -> None:
        """Listens on `listen`; `address` then has the port."""
        self.address = f"127.0.0.1:{rpc.bind(self._server, self.listen)}"
        await self._server.start()

    async def stop(self) -> None:
        """Stops at once. Peers see what they see when a process is killed."""
        await self._server.stop(None)


class FakeWorker(FakeServer, worker_pb2_grpc.WorkerServiceServicer):
    """Generates the tokens of `word`. Change `behaviour` to make it fail; read `starts` and `cancels`."""

    def __init__(self, worker_id: str = "worker-1", epoch: int = 7) -> None:
        super().__init__()
        self.worker_id, self.epoch, self.version = worker_id, epoch, VERSION
        self.behaviour = Behaviour()
        self.starts: list[worker_pb2.Start] = []
        self.cancels: list[worker_pb2.Cancel] = []
        self.hellos: list[worker_pb2.Hello] = []
        self.sent_tokens: dict[str, int] = {}
        self._credit: dict[int, asyncio.Semaphore] = {}
        self._turn = asyncio.Lock()
        worker_pb2_grpc.add_WorkerServiceServicer_to_server(self, self._server)

    async def Serve(self, requests: AsyncIterator[worker_pb2.ServeRequest], context: Any) -> None:  # type: ignore[override]  # noqa: N802
        running: dict[int, asyncio.Task[None]] = {}
        try:
            async for request in rpc.frames(requests):
                match request.WhichOneof("frame"):
                    case "hello":
                        await self._greet(request.hello, context)
                    case "start":
                        start = request.start
                        self.starts.append(start)
                        self._credit[start.stream_id] = asyncio.Semaphore(start.credit_tokens or 2**31)
                        running[start.stream_id] = asyncio.create_task(self._generate(start, context))
                    case "cancel":
                        self.cancels.append(request.cancel)
                        if not self.behaviour.wakes:
                            running[request.cancel.stream_id].cancel()
                    case "credit":
                        for _ in range(request.credit.tokens):
                            self._credit[request.credit.stream_id].release()
        finally:
            for task in running.values():
                task.cancel()

    async def Tokenize(self, request: worker_pb2.TokenizeRequest, context: Any) -> worker_pb2.TokenizeResponse:  # noqa: N802
        """One token a byte."""
        await self._check_behaviour(context)
        said = request.text.encode() or request.chat.tools_json + request.chat.messages_json
        return worker_pb2.TokenizeResponse(token_ids=list(said), model_version=VERSION)

    async def Detokenize(self, request: worker_pb2.DetokenizeRequest, context: Any) -> worker_pb2.DetokenizeResponse:  # noqa: N802
        await self._check_behaviour(context)
        return worker_pb2.DetokenizeResponse(text=bytes(request.token_ids).decode(), model_version=VERSION)

    async def DescribeTokenizer(  # noqa: N802
        self, request: worker_pb2.DescribeTokenizerRequest, context: Any
    ) -> worker_pb2.DescribeTokenizerResponse:
        await self._check_behaviour(context)
        return worker_pb2.DescribeTokenizerResponse(config_json=b'{"tokenizer_class": "Bytes"}')

    async def _check_behaviour(self, context: Any) -> None:
        if self.behaviour.refuse == worker_pb2.FAILURE_KIND_INVALID:
            await context.abort(grpc.StatusCode.INVALID_ARGUMENT, "refused by the test")
        if self.behaviour.refuse is not None:
            await context.abort(grpc.StatusCode.UNAVAILABLE, "refused by the test")

    async def _greet(self, hello: worker_pb2.Hello, context: Any) -> None:
        self.hellos.append(hello)
        if hello.worker_epoch not in (0, self.epoch):
            await context.abort(grpc.StatusCode.FAILED_PRECONDITION, "another epoch")

    async def _generate(self, start: worker_pb2.Start, context: Any) -> None:
        name: dict[str, Any] = {"stream_id": start.stream_id, "attempt": start.attempt}
        behaviour = self.behaviour
        if behaviour.refuse is not None and behaviour.refuses(start):
            if behaviour.refuses_after:
                await behaviour.refuses_after.wait()
            failure = worker_pb2.Failure(kind=behaviour.refuse, message="refused by the test")
            await self._write(context, ended=[worker_pb2.Ended(**name, failure=failure)])
            return
        started = worker_pb2.Started(
            **name, model_version=self.version, prompt_tokens=11, cached_tokens=4, resumable=behaviour.resumable
        )
        await self._write(context, started=[started])
        if start.HasField("inputs"):
            await self._embed(start, context, name)
            return
        limit = start.sampling.max_tokens if start.sampling.HasField("max_tokens") else behaviour.tokens
        tokens, choices = min(limit, behaviour.tokens), start.sampling.n or 1
        had = {point.choice: len(point.token_ids) for point in start.resume}
        for index in range(min(had.get(choice, 0) for choice in range(choices)), tokens):
            if index == behaviour.moves_after and start.attempt == 1:
                self.version = behaviour.next_version
                failure = worker_pb2.Failure(kind=behaviour.moves_as, message="moved by the test")
                await self._write(context, ended=[worker_pb2.Ended(**name, failure=failure)])
                return
            if index == behaviour.hang_after:
                if not behaviour.wakes:
                    return
                await behaviour.wakes.wait()
            missing = [choice for choice in range(choices) if index >= had.get(choice, 0)]
            await self._step(start, context, index, missing, last=index == tokens - 1)
        usage = worker_pb2.Usage(prompt_tokens=11, cached_tokens=4, completion_tokens=tokens * choices)
        await self._write(context, ended=[worker_pb2.Ended(**name, usage=usage)])

    async def _embed(self, start: worker_pb2.Start, context: Any, name: dict[str, Any]) -> None:
        """Sends a vector for each input; only `moves_after` of them where the worker moves the first attempt."""
        had = {point.choice for point in start.resume if point.finished}
        missing = [index for index in range(len(start.inputs.inputs)) if index not in had]
        moves = self.behaviour.moves_after if start.attempt == 1 else None
        for index in missing[:moves]:
            values = vector(start.inputs.inputs[index])[: start.inputs.dimensions or None]
            delta = worker_pb2.Delta(
                **name,
                choice=index,
                finish_reason=worker_pb2.FINISH_REASON_STOP,
                embedding=struct.pack(f"<{len(values)}f", *values),
            )
            await self._write(context, deltas=[delta])
        if moves is not None:
            failure = worker_pb2.Failure(kind=self.behaviour.moves_as, message="moved by the test")
            await self._write(context, ended=[worker_pb2.Ended(**name, failure=failure)])
            return
        usage = worker_pb2.Usage(prompt_tokens=11, cached_tokens=4)
        await self._write(context, ended=[worker_pb2.Ended(**name, usage=usage)])

    async def _step(self, start: worker_pb2.Start, context: Any, index: int, choices: list[int], *, last: bool) -> None:
        deltas = []
        for choice in choices:
            await self._credit[start.stream_id].acquire()
            delta = worker_pb2.Delta(
                stream_id=start.stream_id,
                attempt=start.attempt,
                choice=choice,
                text=word(choice, index),
                token_ids=[1000 * choice + index],
                text_end=sum(len(word(choice, earlier)) for earlier in range(index + 1)),
                finish_reason=worker_pb2.FINISH_REASON_STOP if last else worker_pb2.FINISH_REASON_UNSPECIFIED,
            )
            self.behaviour.delta(delta)
            deltas.append(delta)
        await self._write(context, deltas=deltas)
        self.sent_tokens[start.request_id] = self.sent_tokens.get(start.request_id, 0) + len(deltas)

    async def _write(self, context: Any, **frames: Any) -> None:
        epoch = self.behaviour.reported_epoch or self.epoch
        async with self._turn:
            await context.write(worker_pb2.ServeResponse(worker_epoch=epoch, **frames))


@dataclass
class Session:
    """The frames that go to one gateway."""

    outgoing: asyncio.Queue[router_pb2.RouterFrame] = field(default_factory=asyncio.Queue)

    def send(self, **frame: Any) -> None:
        self.outgoing.put_nowait(router_pb2.RouterFrame(**frame))


class FakeRouter(FakeServer, router_pb2_grpc.RouterServiceServicer):
    """Grants each request to the first worker that it does not exclude. While `holding`, it queues them instead."""

    def __init__(self, *workers: FakeWorker) -> None:
        super().__init__()
        self.workers = workers
        self.holding = False
        # There is a pool EMBEDDER too, with the same workers.
        self.embeds = False
        self.reject: router_pb2.Reject | None = None
        # Which requests are rejected.
        self.rejects: Callable[[router_pb2.Submit], bool] = lambda submit: True
        # Sent with every answer to a Submit.
        self.limits: list[router_pb2.LimitState] = []
        self.hellos: list[router_pb2.DispatchHello] = []
        self.submits: list[router_pb2.Submit] = []
        self.finishes: list[router_pb2.Finish] = []
        self.logs: dict[str, bytes] = {}
        # How many streams the resume log takes.
        self.room_for_logs = 2**31
        self.session = Session()
        router_pb2_grpc.add_RouterServiceServicer_to_server(self, self._server)

    async def Dispatch(self, requests: AsyncIterator[router_pb2.DispatchRequest], context: Any) -> None:  # type: ignore[override]  # noqa: N802
        self.session = session = Session()
        reader = asyncio.create_task(self._read(requests, session))
        try:
            while not reader.done():
                sending = asyncio.create_task(session.outgoing.get())
                await asyncio.wait({reader, sending}, return_when=asyncio.FIRST_COMPLETED)
                if not sending.done():
                    sending.cancel()
                    return
                await context.write(router_pb2.DispatchResponse(frames=[sending.result()]))
        finally:
            reader.cancel()

    async def Attach(self, requests: AsyncIterator[router_pb2.AttachRequest], context: Any) -> None:  # type: ignore[override]  # noqa: N802
        await context.abort(grpc.StatusCode.UNIMPLEMENTED, "this router knows its workers from the test")

    async def ReadLog(self, request: router_pb2.ReadLogRequest, context: Any) -> router_pb2.ReadLogResponse:  # noqa: N802
        if request.request_id not in self.logs:
            await context.abort(grpc.StatusCode.NOT_FOUND, "nothing is kept of this stream")
        return router_pb2.ReadLogResponse(log=self.logs[request.request_id])

    def grant(self, submit: router_pb2.Submit) -> None:
        """Grants a request that was held."""
        name = {"request_id": submit.request_id, "attempt": submit.attempt}
        self.session.send(grant=_grant(name, self.workers[0], submit.service_class))

    def tell_place(self, submit: router_pb2.Submit, position: int, expected_wait_ms: int) -> None:
        """Tells a waiting request its queue position."""
        queued = router_pb2.Queued(
            request_id=submit.request_id,
            attempt=submit.attempt,
            position=position,
            expected_wait_ms=expected_wait_ms,
        )
        self.session.send(queued=queued)

    def revoke(self, submit: router_pb2.Submit) -> None:
        """Takes a grant back, as if the worker were stuck."""
        reason = router_pb2.REVOKE_REASON_WORKER_STUCK
        frame = router_pb2.Revoke(request_id=submit.request_id, attempt=submit.attempt, reason=reason)
        self.session.send(revoke=frame)

    async def _read(self, requests: AsyncIterator[router_pb2.DispatchRequest], session: Session) -> None:
        async for request in rpc.frames(requests):
            match request.WhichOneof("frame"):
                case "hello":
                    self.hellos.append(request.hello)
                    session.send(welcome=router_pb2.DispatchWelcome(router_id="router", session_lease_ms=10_000))
                    session.send(catalog=self._catalog())
                case "submit":
                    self.submits.append(request.submit)
                    self._answer(request.submit, session)
                case "finish":
                    self.finishes.append(request.finish)
                case "journal_write":
                    lengths = [self._write_log(part) for part in request.journal_write.parts]
                    session.send(journal_written=router_pb2.JournalWritten(logs=lengths))

    def _answer(self, submit: router_pb2.Submit, session: Session) -> None:
        name: dict[str, Any] = {"request_id": submit.request_id, "attempt": submit.attempt}
        free = [worker for worker in self.workers if worker.worker_id not in submit.excluded_workers]
        if self.reject and self.rejects(submit):
            told: dict[str, Any] = {
                "reason": self.reject.reason,
                "limit_name": self.reject.limit_name,
                "limits": self.limits,
            }
            session.send(reject=router_pb2.Reject(**name, **told, retry_after_ms=1500))
        elif submit.HasField("placement"):
            return
        elif self.holding:
            session.send(queued=router_pb2.Queued(**name, position=0, expected_wait_ms=1000, limits=self.limits))
        elif not free:
            session.send(reject=router_pb2.Reject(**name, reason=router_pb2.REJECT_REASON_NO_WORKERS))
        else:
            grant = _grant(name, free[0], submit.service_class)
            grant.limits.extend(self.limits)
            session.send(grant=grant)

    def _write_log(self, part: router_pb2.LogPart) -> router_pb2.LogLength:
        log = self.logs.get(part.request_id, b"")
        if not log and len(self.logs) >= self.room_for_logs:
            return router_pb2.LogLength(request_id=part.request_id, full=True)
        if part.offset <= len(log):
            log = self.logs[part.request_id] = log + part.data[len(log) - part.offset :]
        return router_pb2.LogLength(request_id=part.request_id, length=len(log))

    def send_catalog(self, version: str) -> None:
        """Sends a catalog in which the model has this version."""
        self.session.send(catalog=self._catalog(version))

    def _catalog(self, version: str = VERSION) -> router_pb2.Catalog:
        pool = router_pb2.Pool(
            name=MODEL,
            context_tokens=CONTEXT_TOKENS,
            model_versions=[version],
            created=1_700_000_000,
            ready_workers=len(self.workers),
            worker_addresses=[worker.address for worker in self.workers],
        )
        catalog = router_pb2.Catalog(pools=[pool])
        if self.embeds:
            embedder = catalog.pools.add()
            embedder.CopyFrom(pool)
            embedder.name, embedder.embeds = EMBEDDER, True
        return catalog


def _grant(name: dict[str, Any], worker: FakeWorker, service_class: Any) -> router_pb2.Grant:
    return router_pb2.Grant(
        **name,
        worker_id=worker.worker_id,
        worker_address=worker.address,
        worker_epoch=worker.epoch,
        model_version=worker.version,
        queue_wait_ms=3,
        service_class=service_class,
    )
