"""A stand-in for `docker` in tests of scripts: runs what `docker compose run` would run in a container here, as it is.

It reads docker-compose.yml: a service must be there, and the command gets its environment, with the changes of
STANDIN_VARIABLES (JSON, by service). Other calls go to the Unix socket STANDIN_SOCKET, as JSON, and the answer is the
exit status. All calls are written to STANDIN_CALLS.
"""

import json
import os
import socket
import subprocess
import sys
from pathlib import Path

if __name__ == "__main__":
    sys.path.insert(0, str(Path(__file__).parents[2]))

from tests.deploy.compose import document, read_env, told

OPTIONS_WITH_VALUES = {"--user", "--volume"}


def run(arguments: list[str]) -> int:
    """`docker compose run OPTIONS SERVICE COMMAND...`."""
    mounts: dict[str, str] = {}
    while arguments[0].startswith("-"):
        option = arguments.pop(0)
        if option in OPTIONS_WITH_VALUES:
            value = arguments.pop(0)
            if option == "--volume":
                source, target = value.split(":")[:2]
                mounts[target] = source
    name, *command = arguments
    compose = document(read_env(Path(".env")) | {"PULL_POLICY": os.environ["PULL_POLICY"]})
    assert compose["services"]["operator"]["pull_policy"] == "missing", "single commands build no image"
    service = compose["services"][name]
    for volume in service.get("volumes", []):
        source, target = volume.split(":")[:2]
        mounts[target] = str(Path(source).absolute())
    changed = json.loads(os.environ["STANDIN_VARIABLES"]).get(name, {})
    for target, source in mounts.items():
        command = [part.replace(target, source) for part in command]
    if command[0] == "tidegate":
        command = [sys.executable, "-m", "services.cli", *command[1:]]
    variables = {**os.environ, **told(service, compose, Path()), **changed}
    return subprocess.run(
        command, env={key: value for key, value in variables.items() if value}, check=False
    ).returncode


def ask(arguments: list[str]) -> int:
    """What the test says to a call, or 0 if it does not listen."""
    if not (path := os.environ.get("STANDIN_SOCKET")):
        return 0
    with socket.socket(socket.AF_UNIX) as connection:
        connection.connect(path)
        connection.sendall(json.dumps(arguments).encode() + b"\n")
        return int(connection.makefile().readline())


def main() -> int:
    docker, *arguments = sys.argv[1:]
    assert docker == "compose", docker
    with Path(os.environ["STANDIN_CALLS"]).open("a") as calls:
        calls.write(json.dumps(arguments) + "\n")
    return run(arguments[1:]) if arguments[0] == "run" else ask(arguments)


if __name__ == "__main__":
    sys.exit(main())
