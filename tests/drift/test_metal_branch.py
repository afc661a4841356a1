"""The code that only a Mac compiles still type-checks."""

import subprocess
import sys

import pytest


@pytest.mark.skipif(sys.platform == "darwin", reason="a Mac compiles against Metal itself")
def test_metal_branch_type_checks(root):
    checked = subprocess.run(
        [str(root / "scripts" / "check_metal.sh")], capture_output=True, text=True, check=False, cwd=root
    )
    assert checked.returncode == 0, checked.stdout + checked.stderr
