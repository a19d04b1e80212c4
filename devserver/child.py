"""`python -m devserver.child PROGRAM …` becomes that program, and ends when whoever started it ends, however that ends.

The kernel sees to it (Linux); elsewhere a supervisor that was killed leaves its programs behind.
"""

from __future__ import annotations

import ctypes
import os
import signal
import sys

PR_SET_PDEATHSIG = 1


def end_with_parent() -> None:
    """Have the kernel send SIGTERM to this process when its parent dies; kept across exec."""
    if not sys.platform.startswith("linux"):
        return
    parent = os.getppid()
    ctypes.CDLL(None, use_errno=True).prctl(PR_SET_PDEATHSIG, int(signal.SIGTERM), 0, 0, 0)
    if os.getppid() != parent:  # It died in between.
        os.kill(os.getpid(), signal.SIGTERM)


def main() -> None:
    end_with_parent()
    try:
        os.execvp(sys.argv[1], sys.argv[1:])  # noqa: S606
    except OSError as error:
        sys.exit(f"{sys.argv[1]}: {error.strerror}")


if __name__ == "__main__":
    main()
