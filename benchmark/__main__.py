"""`python -m benchmark`, and the console script `benchmark`."""

import sys


def main() -> None:
    from .cli import run_command

    sys.exit(run_command(sys.argv[1:]))


if __name__ == "__main__":
    main()
