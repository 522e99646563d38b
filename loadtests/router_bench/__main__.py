"""`python -m loadtests.router_bench`: the costs of the router's scripts and of its process, as a table and as JSON."""

from loadtests.router_bench.command import app

if __name__ == "__main__":
    app()
