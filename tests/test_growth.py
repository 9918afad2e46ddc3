"""The command that measures how time and memory grow."""

import json
import subprocess
import sys

import numpy as np
import pytest
from commands import caller, flags_of

from experiments.bench import made_up, scale

PROGRAM = [sys.executable, "-m", "experiments.bench.scale"]


def test_a_made_up_atlas_shows_every_class_on_a_run_of_sections():
    stack = made_up.atlas(300, 30, 40, 133)
    shown = np.array([np.isin(np.arange(133), truth) for truth in stack.truth])
    assert shown[:, 1:].any(0).all() and (shown[:, 1:].sum(1) == made_up.SHOWN).all()
    for structure in range(1, 133):
        sections = np.flatnonzero(shown[:, structure])
        assert (np.diff(sections) == 1).all()
    few = made_up.atlas(3, 30, 40, 5)
    assert all(set(np.unique(truth)) >= {1, 2, 3, 4} for truth in few.truth)


@pytest.mark.slow
def test_the_command(tmp_path):
    said = subprocess.run(
        [
            *PROGRAM,
            "--sections=3",
            "--sizes=16x24",
            "--classes=5,9",
            "--few=3",
            f"--out={tmp_path}",
        ],
        capture_output=True,
        text=True,
    )
    assert said.returncode == 0, said.stderr
    rows = said.stdout.splitlines()
    # The smallest of both series is one stack, measured once.
    assert [row.split()[0] for row in rows[1:-1]] == ["3x16x24x9", "3x16x24x5"]
    points = json.loads((tmp_path / "scale.json").read_text())["points"]
    for point in points:
        assert set(point["seconds"]) == set(scale.PARTS)
        assert all(seconds > 0 for seconds in point["seconds"].values())
        # Images, inside and truth: four bytes a pixel.
        pixels = point["sections"] * point["height"] * point["width"]
        assert point["stack_MiB"] == pytest.approx(4 * pixels / 2**20, abs=0.05)
        assert point["memory_MiB"] > 100
    assert (tmp_path / "scale.png").stat().st_size > 10_000


@pytest.mark.parametrize(
    ("flag", "line"),
    [
        ("--sizes=300", "--sizes has '300'; give numbers of at least 2, such as 300x300"),
        ("--sections=one", "--sections has 'one'"),
        ("--classes=", "--sections, --sizes or --classes is empty"),
        ("--point=3x16x24", "--point has '3x16x24'"),
        ("--few=3", "3 sections cannot show 649 classes, 70 at a time; give at least 10"),
        ("--out=/proc/nope", "/proc/nope: "),
    ],
)
def test_bad_flags(flag, line, monkeypatch, capsys):
    with flags_of(scale):
        status, out, err = caller(scale, monkeypatch, capsys)(flag)
    assert (status, out) == (2, "") and line in err and err.count("\n") == 1
