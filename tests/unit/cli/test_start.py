"""What the command line imports before it knows the command."""

import subprocess
import sys

# Libraries that take long to import. A command imports those that it needs.
HEAVY = {"cryptography", "google.protobuf", "grpc", "httpx", "obstore", "pydantic", "rich.console", "sqlalchemy"}


def test_a_command_starts_without_the_libraries_of_the_others() -> None:
    imports = "import sys, services.cli.__main__; print(*sys.modules)"
    shown = subprocess.run([sys.executable, "-c", imports], capture_output=True, text=True, check=True)
    assert HEAVY & set(shown.stdout.split()) == set()
    assert "services.cli.commands.queue" in shown.stdout.split()
