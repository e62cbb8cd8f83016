"""`python -m ckpt_doctor`, and the program `ckpt-doctor`."""

import sys


def run() -> int:
    """Run the program and return its exit code; Ctrl-C ends it in the same way while it is loaded."""
    try:
        from ckpt_doctor.cli.main import main

        return main()
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        return 130


if __name__ == "__main__":
    sys.exit(run())
