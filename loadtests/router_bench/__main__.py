"""python -m loadtests.router_bench: what the router's scripts and its process cost, as a table and as JSON."""

from loadtests.router_bench.command import app

if __name__ == "__main__":
    app()
