"""The command `python -m loadtests`."""

from loadtests.command import main

if __name__ == "__main__":
    main()
