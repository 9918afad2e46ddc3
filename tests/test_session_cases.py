"""Sessions as laboratories use them: each of ../shared/cases_session ends with FINE.

Each is a small script of real commands; some seconds to a minute long, so that all are slow.
"""

import os
import pathlib
import subprocess
import sys

import pytest

ROOT = pathlib.Path(__file__).parents[1]
SHARED = pathlib.Path(os.environ.get("AL_JAX_DATA", ROOT.parent / "shared"))
CASES = sorted(path.parent for path in (SHARED / "cases_session").glob("*/run.sh"))


@pytest.mark.slow
@pytest.mark.skipif(not CASES, reason="no cases: set AL_JAX_DATA to the folder of cases_session/")
@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_a_case(case):
    own = pathlib.Path(sys.executable).parent
    around = os.environ | {"PROJ": str(ROOT), "PATH": f"{own}:{os.environ['PATH']}"}
    call = ["bash", str(case / "run.sh")]
    # A case may cut what it shows within a letter.
    done = subprocess.run(
        call, env=around, capture_output=True, text=True, errors="replace", timeout=600
    )
    assert "FINE" in done.stdout.splitlines()[-1], done.stdout + done.stderr
