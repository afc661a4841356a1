"""Run pip with the given arguments, one process at a time per virtual environment.

``make -j`` asks for several sets of packages at once, and pip does not guard an environment
against a second pip.
"""

import fcntl
import subprocess
import sys
from pathlib import Path


def main() -> int:
    """Return pip's exit status."""
    with (Path(sys.prefix) / ".pip-lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        pip = [sys.executable, "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
        return subprocess.run([*pip, *sys.argv[1:]], check=False).returncode


if __name__ == "__main__":
    sys.exit(main())
