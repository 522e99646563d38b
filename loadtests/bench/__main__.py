"""python -m loadtests.bench: what a token and a request cost here and with others, side by side in one run."""

from loadtests.bench.command import app

if __name__ == "__main__":
    app()
