"""`tidegate chat`: a conversation in the terminal. It uses the REST API, like any other client."""

import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from services.cli.errors import CommandFailed
from services.cli.options import DEFAULT_DATA_DIR, BaseUrl, DataDir

if TYPE_CHECKING:
    import httpx

QUIT = "/quit"
ANSWER_LIMIT_S = 300.0


def chat(
    model: Annotated[
        str | None, typer.Option(help="model to talk to; default: the first one that the cluster serves")
    ] = None,
    system: Annotated[str | None, typer.Option(help="system message")] = None,
    temperature: Annotated[
        float | None, typer.Option(help="sampling temperature; 0: always the most likely token")
    ] = None,
    data_dir: DataDir = DEFAULT_DATA_DIR,
    base_url: BaseUrl = None,
    api_key: Annotated[
        str | None, typer.Option(envvar="OPENAI_API_KEY", help="API key; default: the local cluster's")
    ] = None,
) -> None:
    """Talk to a model. Ctrl-C stops an answer, /quit ends the chat. Messages may also be piped in, one on each line."""
    import httpx

    from services.cli.views.output import err

    url, key = _access(data_dir, base_url, api_key)
    headers = {"Authorization": f"Bearer {key}"}
    with httpx.Client(base_url=url.rstrip("/") + "/", headers=headers, timeout=ANSWER_LIMIT_S) as client:
        try:
            sampling = {} if temperature is None else {"temperature": temperature}
            conversation = Conversation(client, model or _first_model(client), system, sampling)
            for message in _messages(conversation.model):
                reply = conversation.say(message)
                err().print(reply.figures(), style="dim", markup=False)
        except httpx.TransportError as error:
            raise CommandFailed(
                f"{url} cannot be reached ({error}): is the cluster running? (tidegate status)"
            ) from None


@dataclass(slots=True)
class ChatReply:
    """A reply while it arrives. Times are seconds of the monotonic clock."""

    asked: float
    text: str = ""
    first: float | None = None
    ended: float | None = None
    usage: dict[str, int] = field(default_factory=dict)
    stopped: bool = False

    def figures(self) -> str:
        """Tokens and times of the reply, in words."""
        parts = [f"{self.usage['completion_tokens']} tokens"] if self.usage else []
        if self.first and self.ended:
            parts += [f"first after {self.first - self.asked:.2f} s", f"{self.ended - self.asked:.2f} s in all"]
        return ", ".join([*parts, *(["stopped"] if self.stopped else [])]) or "no answer"


class Conversation:
    """A conversation with one model. It remembers all messages."""

    def __init__(self, client: "httpx.Client", model: str, system: str | None, sampling: dict[str, float]) -> None:
        self.model = model
        self._sampling = sampling
        self._client = client
        self._messages = [{"role": "system", "content": system}] if system else []

    def say(self, message: str) -> ChatReply:
        """Sends a message and prints the reply as it arrives. Ctrl-C stops the reply.

        Raises:
            CommandFailed: The gateway refused the request, or the reply broke off.
        """
        self._messages.append({"role": "user", "content": message})
        reply = ChatReply(time.monotonic())
        try:
            for chunk in self._stream():
                _add(reply, chunk)
        except KeyboardInterrupt:
            reply.stopped = True
        reply.ended = time.monotonic()
        sys.stdout.write("\n")
        sys.stdout.flush()
        self._messages.append({"role": "assistant", "content": reply.text})
        return reply

    def _stream(self) -> Iterator[dict[str, Any]]:
        from services.cli.clients.sse import chunks

        body = {
            "model": self.model,
            "messages": self._messages,
            "stream": True,
            "stream_options": {"include_usage": True},
            **self._sampling,
        }
        with self._client.stream("POST", "chat/completions", json=body) as response:
            if response.status_code != 200:
                response.read()
                raise CommandFailed(_error_message(response))
            for chunk in chunks(response.iter_lines()):
                if error := chunk.get("error"):
                    raise CommandFailed(f"the answer broke off: {error.get('message')}")
                yield chunk


def _add(reply: ChatReply, chunk: dict[str, Any]) -> None:
    reply.usage = chunk.get("usage") or reply.usage
    for choice in chunk.get("choices", ()):
        if text := choice["delta"].get("content"):
            reply.first = reply.first or time.monotonic()
            reply.text += text
            sys.stdout.write(text)
            sys.stdout.flush()


def _messages(model: str) -> Iterator[str]:
    """Lines of standard input, until its end or /quit. A terminal shows a prompt."""
    typed = sys.stdin.isatty()
    if typed:
        import readline  # noqa: F401  (line editing and history for input())

        typer.secho(f"{model}: {QUIT} ends, Ctrl-C stops an answer", dim=True, err=True)
    while (line := _line(typed)) is not None and line != QUIT:
        if line:
            yield line


def _line(typed: bool) -> str | None:
    """None at the end of the input."""
    try:
        return input("> " if typed else "").strip()
    except (EOFError, KeyboardInterrupt):
        return None


def _access(data_dir: Path, base_url: str | None, api_key: str | None) -> tuple[str, str]:
    from services.local import env_file
    from services.local.data_folder import DataFolder

    if base_url:
        if not api_key:
            raise CommandFailed("--base-url needs --api-key (or OPENAI_API_KEY)")
        return base_url, api_key
    values = env_file.read(DataFolder.at(data_dir))
    return values["OPENAI_BASE_URL"], values["OPENAI_API_KEY"]


def _first_model(client: "httpx.Client") -> str:
    response = client.get("models")
    if response.status_code != 200:
        raise CommandFailed(_error_message(response))
    models = [str(model["id"]) for model in response.json()["data"]]
    if not models:
        raise CommandFailed("the cluster serves no model yet (tidegate status)")
    return models[0]


def _error_message(response: "httpx.Response") -> str:
    try:
        message = response.json()["error"]["message"]
    except (ValueError, KeyError, TypeError):
        message = response.text[:500]
    return f"{response.status_code}: {message}"
