"""The command `python -m loadtests.bench`: CPU costs of tokens and requests, beside other servers."""

from loadtests.bench.command import app

if __name__ == "__main__":
    app()
