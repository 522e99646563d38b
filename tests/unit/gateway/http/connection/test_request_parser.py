"""Requests that want to change the protocol are parsed whole, whatever their form and however they are cut."""

from collections.abc import Iterator

import httptools
import pytest

from services.gateway.http.connection.request_parser import RequestParser, without_upgrade

H2C = b"connection: Upgrade, HTTP2-Settings\r\nupgrade: h2c\r\nhttp2-settings: AAMAAABk\r\n"
WEBSOCKET = b"upgrade: websocket\r\nConnection: keep-alive, Upgrade\r\nsec-websocket-version: 13\r\n"
ONCE = b"POST /a?b=c HTTP/1.1\r\nhost: a\r\n%bcontent-length: 4\r\n\r\nbody"
CHUNKED = b"POST /a?b=c HTTP/1.1\r\nhost: a\r\n%btransfer-encoding: chunked\r\n\r\n4\r\nbody\r\n0\r\n\r\n"
EMPTY = b"GET /a?b=c HTTP/1.1\r\nhost: a\r\n%b\r\n"


class Collector:
    """Keeps each request that the parser does not announce again."""

    def __init__(self) -> None:
        self.parser = RequestParser(self)
        self.requests: list[tuple[bytes, bytes, dict[bytes, bytes], bytes]] = []

    def on_message_begin(self) -> None:
        self.url, self.headers, self.body = b"", list[tuple[bytes, bytes]](), b""

    def on_url(self, url: bytes) -> None:
        self.url += url

    def on_header(self, name: bytes, value: bytes) -> None:
        self.headers.append((name.lower(), value))

    def on_body(self, body: bytes) -> None:
        self.body += body

    def on_message_complete(self) -> None:
        if not self.parser.comes_again:
            self.requests.append((self.parser.get_method(), self.url, dict(self.headers), self.body))


def cuts(data: bytes) -> Iterator[list[bytes]]:
    yield [data]
    yield [data[i : i + 1] for i in range(len(data))]
    yield from ([data[:cut], data[cut:]] for cut in range(1, len(data), 7))


@pytest.mark.parametrize("form", [ONCE, CHUNKED, EMPTY])
@pytest.mark.parametrize("upgrade", [H2C, WEBSOCKET])
def test_a_wish_to_upgrade_is_ignored_and_nothing_else(form: bytes, upgrade: bytes) -> None:
    for pieces in cuts(form % upgrade + EMPTY % b""):
        collector = Collector()
        for piece in pieces:
            collector.parser.feed_data(piece)
        (method, url, headers, body), following = collector.requests
        assert (method, url, body) == (form[:4].strip(), b"/a?b=c", b"" if form == EMPTY else b"body")
        assert b"upgrade" not in headers
        assert b"http2-settings" not in headers
        assert headers.get(b"connection") in (None, b"keep-alive")
        assert headers[b"host"] == b"a"
        assert following[:2] == (b"GET", b"/a?b=c")


def test_many_of_them_in_one_piece_do_not_nest() -> None:
    collector = Collector()
    collector.parser.feed_data(EMPTY % H2C * 2_000)
    assert len(collector.requests) == 2_000


def test_a_connect_is_nothing_but_an_upgrade() -> None:
    collector = Collector()
    with pytest.raises(httptools.HttpParserUpgrade):
        collector.parser.feed_data(b"CONNECT /a HTTP/1.1\r\nhost: a\r\n\r\n")
    assert len(collector.requests) == 1


def test_bounds_of_a_body_are_checked_as_ever() -> None:
    both = H2C + b"transfer-encoding: chunked\r\n"
    with pytest.raises(httptools.HttpParserError):
        Collector().parser.feed_data(ONCE % both)


def test_other_words_of_connection_stay() -> None:
    headers = [(b"connection", b"close, Upgrade"), (b"x", b""), (b"upgrade", b"h2c"), (b"connection", b"upgrade")]
    assert without_upgrade(headers) == [b"connection: close", b"x: "]
