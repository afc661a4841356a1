"""Run the demo: ``python -m pyfa.demo``, the same as ``python -m pyfa demo``."""

import sys

from pyfa.demo.cli import main

sys.exit(main())
