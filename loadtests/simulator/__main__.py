"""Entry point: `python -m loadtests.simulator`."""

from loadtests.simulator.command import main

if __name__ == "__main__":
    main()
