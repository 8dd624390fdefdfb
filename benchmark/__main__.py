"""`python -m benchmark`, and the console script `benchmark`."""

import sys


def main() -> None:
    try:
        from .cli import run_command

        sys.exit(run_command(sys.argv[1:]))
    except KeyboardInterrupt:  # while it was still importing
        sys.exit(130)


if __name__ == "__main__":
    main()
