"""`python -m benchmark`, and the console script `benchmark`."""

import signal
import sys


def main() -> None:
    # As Ctrl-C: what schedulers of batches send before they kill.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        from .cli import run_command

        sys.exit(run_command(sys.argv[1:]))
    except KeyboardInterrupt:  # while it was still importing
        sys.exit(130)


if __name__ == "__main__":
    main()
