"""Each mistake of a server has its own outcome; unusual but correct behaviour is accepted."""

import asyncio
from collections import Counter

import orjson
import pytest

from loadtests.client import Client
from loadtests.sample import Outcome, Sample
from loadtests.target import Target
from tests.integration.loadtests.driving import drive
from tests.integration.loadtests.server import Behaviour, Exchange, event, events, right


async def refuse(exchange: Exchange) -> None:
    exchange.whole(429, orjson.dumps({"error": {"message": "queue full"}}), "Retry-After: 1\r\n")


async def refuse_for_ever(exchange: Exchange) -> None:
    exchange.whole(503, b'{"error": {"message": "busy"}}')


async def fail(exchange: Exchange) -> None:
    exchange.whole(500, b"<h1>oops</h1>", content_type="text/html")


async def break_stream(exchange: Exchange) -> None:
    exchange.start_stream()
    exchange.chunk(b"".join(events(exchange.tokens)[:3]))
    await exchange.writer.drain()
    exchange.break_off()


async def break_before_answering(exchange: Exchange) -> None:
    exchange.break_off()


async def leave_out_done(exchange: Exchange) -> None:
    exchange.start_stream()
    exchange.chunk(b"".join(events(exchange.tokens)))
    exchange.chunk(b"")


async def tell_error_in_stream(exchange: Exchange) -> None:
    exchange.start_stream()
    exchange.chunk(events(exchange.tokens)[1] + event({"error": {"message": "engine died"}}))
    exchange.chunk(b"")


async def stream_nonsense(exchange: Exchange) -> None:
    exchange.start_stream()
    exchange.chunk(b"data: {nonsense\n\n")
    exchange.chunk(b"")


async def answer_whole_when_asked_to_stream(exchange: Exchange) -> None:
    exchange.body["stream"] = False
    await right(exchange)


async def answer_short(exchange: Exchange) -> None:
    exchange.body["max_tokens"] -= 1
    await right(exchange)


async def hang(exchange: Exchange) -> None:
    exchange.start_stream()
    await asyncio.Event().wait()


async def speak_something_else(exchange: Exchange) -> None:
    exchange.writer.write(b"SMTP ready\r\n\r\n")


@pytest.mark.parametrize(
    ("behave", "outcome", "detail"),
    [
        (refuse, Outcome.REFUSED, "429 queue full"),
        (refuse_for_ever, Outcome.HTTP_ERROR, "no Retry-After: 503 busy"),
        (fail, Outcome.HTTP_ERROR, "500 b'<h1>oops</h1>'"),
        (break_stream, Outcome.BROKEN_STREAM, "connection"),
        (break_before_answering, Outcome.BROKEN_STREAM, "no answer: connection"),
        (leave_out_done, Outcome.BROKEN_STREAM, "ended without [DONE]"),
        (tell_error_in_stream, Outcome.STREAM_ERROR, "engine died"),
        (stream_nonsense, Outcome.WRONG_SHAPE, "JSONDecodeError"),
        (answer_whole_when_asked_to_stream, Outcome.WRONG_SHAPE, "a stream was asked for"),
        (answer_short, Outcome.WRONG_LENGTH, "fewer tokens"),
        (hang, Outcome.TIMEOUT, "no end after 1 s"),
        (speak_something_else, Outcome.BROKEN_STREAM, "no answer: not HTTP"),
    ],
    ids=lambda value: getattr(value, "__name__", ""),
)
async def test_every_wrong_is_told_apart(behave: Behaviour, outcome: Outcome, detail: str) -> None:
    [sample], _, _ = await drive(behave, timeout_s=1.0 if behave is hang else 10)
    assert (sample.outcome, sample.detail[: len(detail)]) == (outcome, detail)
    assert sample.ended_s is not None


async def test_nobody_listening_is_told_apart_too() -> None:
    sample = Sample(0, "default", True, 0.0)
    await Client(Target.of("http://127.0.0.1:1/v1", "k"), lambda: 0.5, 5).perform(b"", sample, None)
    assert (sample.outcome, sample.ended_s) == (Outcome.CONNECT_FAILED, 0.5)


@pytest.mark.parametrize("streamed", [1.0, 0.0], ids=["streamed", "whole"])
async def test_right_answers_are_measured_and_connections_kept(streamed: float) -> None:
    load = {"process": "constant", "rate": 50}
    samples, server, client = await drive(right, arrivals=load, streamed=streamed)
    assert Counter(sample.outcome for sample in samples) == {Outcome.OK: 50}
    assert {(sample.prompt_tokens, sample.output_tokens) for sample in samples} == {(7, 5)}
    assert all((len(sample.token_times) == 5) == bool(streamed) for sample in samples)
    assert server.connections == client.connections < 40
    assert [len(body["messages"]) for body in server.requests] == [1] * 50
    assert server.requests[0]["service_tier"] == "default"


async def test_a_stream_cut_into_single_bytes_is_the_same_stream() -> None:
    async def dribble(exchange: Exchange) -> None:
        exchange.start_stream()
        for byte in (b"".join(events(exchange.tokens)) + b"data: [DONE]\n\n").replace(b"\n", b"\r\n"):
            exchange.chunk(bytes([byte]))
            await exchange.writer.drain()
        exchange.chunk(b"")

    [sample], _, _ = await drive(dribble)
    assert (sample.outcome, len(sample.token_times)) == (Outcome.OK, 5)
    assert sample.token_times == sorted(sample.token_times)


async def test_a_slow_answer_shows_in_its_own_measures() -> None:
    async def slow(exchange: Exchange) -> None:
        exchange.start_stream()
        for each in events(exchange.tokens):
            await asyncio.sleep(0.05)
            exchange.chunk(each)
            await exchange.writer.drain()
        exchange.chunk(b"data: [DONE]\n\n")
        exchange.chunk(b"")

    [sample], _, _ = await drive(slow)
    assert sample.ttft_s is not None
    assert sample.tpot_s is not None
    assert sample.ttft_s >= 0.1
    assert sample.tpot_s >= 0.05


async def test_a_kept_connection_that_the_server_closes_costs_no_request() -> None:
    async def close_unannounced(exchange: Exchange) -> None:
        # The second request on a connection finds it dead, as after a server's keep-alive time-out.
        if exchange.turn:
            exchange.break_off()
        else:
            await right(exchange)

    samples, server, client = await drive(close_unannounced, arrivals={"process": "constant", "rate": 20})
    assert Counter(sample.outcome for sample in samples) == {Outcome.OK: 20}
    assert client.resent == len(server.requests) - 20 > 5


async def test_what_could_not_be_sent_in_time_is_reported_as_such() -> None:
    load = {"process": "constant", "rate": 20}
    samples, server, _ = await drive(hang, arrivals=load, max_in_flight=2, send_within_s=1.0, timeout_s=4)
    assert Counter(sample.outcome for sample in samples) == {Outcome.TIMEOUT: 2, Outcome.NOT_SENT: 18}
    assert samples[-1].detail == "2 requests were in flight"
    assert len(server.requests) == 2
