"""``python -m pyfa``: what is installed, what a call would do, how fast it is, Metal shaders, and a demonstration."""

import sys

from pyfa._cli import main

if __name__ == "__main__":
    sys.exit(main())
