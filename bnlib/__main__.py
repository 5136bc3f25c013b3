"""The command ``bnlib``, or ``python -m bnlib``."""

from __future__ import annotations

import sys

from bnlib.evidence import signals


def main() -> None:
    """Run the command; it can be stopped while it is still loading, which takes seconds."""
    signals.raise_stopped()
    try:
        from bnlib import cli
    except signals.Stopped:
        print("stopped", file=sys.stderr)
        raise
    cli.main()


if __name__ == "__main__":
    main()
