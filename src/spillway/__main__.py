"""`python -m spillway` is the command `spillway`."""

from spillway.cli.main import main

if __name__ == "__main__":
    main()
