"""The real command end to end: what it writes, and that it goes on to the same bytes after a stop.

A run on the small stack takes seconds, most of them imports and traces; only the first one
compiles, as all share a compilation cache.
"""

import contextlib
import csv
import itertools
import json
import os
import pathlib
import random
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator

import numpy as np
import pytest
import tiny
from commands import caller, flags_of

from al_jax.commands import simulate
from al_jax.core.statistics import effort_at
from al_jax.files.stacks import write_stack
from al_jax.simulation.progress import LOG_SECONDS

ROOT = pathlib.Path(__file__).parents[1]
STRATEGIES = ("BDa", "Da", "Rand")
SETTINGS = (
    "--plugin=pixelwise",
    "--network=pixelwise",
    f"--strategies={','.join(STRATEGIES)}",
    "--crop=32",
    "--initial_steps=90",
    "--query_steps=6",
    "--target_dice=1",
    "--checkpoint_seconds=0",
)
NETWORK = "initial_partial_cross_entropy"  # the stage of its training
RESULTS = (
    "queries.csv",
    "surfaces.csv",
    "result.json",
    "curve.png",
    "annotations.png",
    "config.json",
    "experience.npz",
)
PATIENCE = 300  # seconds for one run on a busy machine


class Bench:
    """A small stack and the command that simulates it."""

    def __init__(self, folder: pathlib.Path):
        self.folder = folder
        write_stack(folder / "stack.npz", tiny.stack())

    def arguments(self, workdir: pathlib.Path, *more: str) -> tuple[str, ...]:
        stack = f"--stack={self.folder / 'stack.npz'}"
        return (stack, f"--workdir={workdir}", *SETTINGS, *more)

    def start(self, workdir: pathlib.Path) -> subprocess.Popen[str]:
        return subprocess.Popen(
            [sys.executable, "-m", "experiments.simulate", *self.arguments(workdir)],
            cwd=ROOT,
            env=os.environ | {"PYTHONPATH": f"{ROOT}{os.pathsep}{ROOT / 'tests'}"},
            text=True,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        )

    def run(self, workdir: pathlib.Path) -> tuple[str, str]:
        """Standard output and standard error of a run that ends well."""
        process = self.start(workdir)
        out, err = process.communicate(timeout=PATIENCE)
        assert process.returncode == 0, err
        return out, err

    def stop(
        self, workdir: pathlib.Path, moment: Callable[[], bool], with_signal: int = signal.SIGKILL
    ) -> tuple[int, str]:
        """Sends a signal at a moment; exit status and standard error."""
        process, begun = self.start(workdir), time.monotonic()
        while process.poll() is None and not moment():
            assert time.monotonic() - begun < PATIENCE
            time.sleep(0.002)
        assert process.poll() is None, "ended before the moment came"
        process.send_signal(with_signal)
        _, err = process.communicate(timeout=PATIENCE)
        return process.returncode, err


@pytest.fixture(scope="module")
def bench(tmp_path_factory) -> Bench:
    return Bench(tmp_path_factory.mktemp("bench"))


@pytest.fixture
def here(bench, monkeypatch, capsys) -> Iterator[Callable[..., None]]:
    """The same command in this process, which is the faster; it ends well."""
    call = caller(simulate, monkeypatch, capsys)

    def run(workdir: pathlib.Path, *more: str) -> None:
        status, _, err = call(*bench.arguments(workdir, *more))
        assert status == 0, err

    with flags_of(simulate):
        yield run


@pytest.fixture(scope="module")
def finished(bench) -> tuple[pathlib.Path, str, str, float]:
    """A directory whose run has ended, untouched by the tests, what it said, and its seconds."""
    begun = time.monotonic()
    said = bench.run(bench.folder / "whole")
    return bench.folder / "whole", *said, time.monotonic() - begun


@pytest.fixture(scope="module")
def rows(finished) -> list[dict[str, str]]:
    """queries.csv."""
    with open(finished[0] / "queries.csv", newline="") as file:
        return list(csv.DictReader(file))


def of(rows: list[dict[str, str]], strategy: str) -> list[dict[str, str]]:
    return [row for row in rows if row["strategy"] == strategy]


def numbers(rows: list[dict[str, str]], column: str) -> np.ndarray:
    return np.array([float(row[column] or "nan") for row in rows])


def results(workdir: pathlib.Path) -> dict[str, bytes]:
    """All that a run leaves, but for when, where and how it ran."""
    found = {name: (workdir / name).read_bytes() for name in RESULTS}
    result = json.loads(found["result.json"])
    record = result.pop("record")
    assert {"started", "seconds", "machine", "command"} <= record.keys()
    return found | {"result.json": json.dumps(result).encode()}


def stamps(workdir: pathlib.Path) -> dict[str, int]:
    """When each file of the checkpoints was written."""
    files = (path for path in (workdir / "checkpoints").rglob("*") if path.is_file())
    return {str(path.relative_to(workdir)): path.stat().st_mtime_ns for path in files}


def half_written(workdir: pathlib.Path, stage: str = "*") -> list[pathlib.Path]:
    """Checkpoints that are being written, or that a killed process left so."""
    with contextlib.suppress(FileNotFoundError):  # gone while we looked
        return list(workdir.glob(f"checkpoints/{stage}/*orbax-checkpoint-tmp*"))
    return []


def count_rows(workdir: pathlib.Path) -> int:
    with contextlib.suppress(FileNotFoundError):
        return len((workdir / "queries.csv").read_text().splitlines()) - 1
    return 0


# One run.


def test_everything_is_there(finished):
    workdir = finished[0]
    stages = sorted(path.name for path in (workdir / "checkpoints").iterdir())
    assert sorted(os.listdir(workdir)) == sorted([*RESULTS, "checkpoints"])
    assert stages == sorted([*STRATEGIES, NETWORK])
    for name in ("curve.png", "annotations.png"):
        assert (workdir / name).read_bytes().startswith(b"\x89PNG")


def test_what_a_user_sees(finished):
    workdir, out, err, seconds = finished
    first, *table, last = (line for line in out.splitlines() if line)
    summary = json.loads((workdir / "result.json").read_text())["summary"]
    assert first.startswith("6 sections of 40x48, 4 classes, 1344 px of outline; results in ")
    assert last == f"{workdir}: queries.csv, surfaces.csv, result.json, curve.png, annotations.png"
    half = 2 + len(STRATEGIES)
    for kind, lines in (("effort", table[:half]), ("effort_own", table[half:])):
        assert lines[0].startswith(f"{kind} (% of ")
        assert lines[1].split() == ["strategy", "start", "80%", "90%", "95%", "queries"]
        for line, strategy in zip(lines[2:], STRATEGIES, strict=True):
            name, start, *_, queries = line.split()
            assert (name, int(queries)) == (strategy, summary[strategy]["queries"])
            assert float(start) == round(summary[strategy][f"initial_{kind}"], 1)
    # Without a terminal a stage has one line at its end, and one a minute; nothing else talks.
    lines = err.splitlines()
    stages = [list(same) for _, same in itertools.groupby(lines, lambda line: line.split()[0])]
    assert [same[0].split()[0] for same in stages] == ["network", *STRATEGIES], err
    assert len(lines) <= len(stages) + seconds // LOG_SECONDS, err
    ends = [same[-1] for same in stages]
    assert "step 90, loss 0." in ends[0]
    assert all(" 100%|" in line for line in ends) and not any("\r" in line for line in lines)
    assert all("effort" in line and "Dice" in line for same in stages[1:] for line in same)


def test_columns_of_the_table_of_queries(rows):
    names = ("background", "outer", "middle", "inner")
    assert list(rows[0]) == [
        "strategy",
        "step",
        "section",
        "section_name",
        "structure",
        "predicted_dice",
        "predicted_length",
        "actual_length",
        "drawn_length",
        "effort_px",
        "effort_percent",
        "effort_own_percent",
        "dice",
        "dice_unclamped",
        *(f"dice_{name}" for name in names),
        *(f"dice_unclamped_{name}" for name in names),
    ]


@pytest.mark.parametrize("strategy", STRATEGIES)
def test_values_of_the_table_of_queries(rows, strategy):
    mine = of(rows, strategy)
    names = ("background", "outer", "middle", "inner")
    assert [int(row["step"]) for row in mine] == list(range(len(mine)))
    asked = [(int(row["section"]), row["structure"]) for row in mine[1:]]
    assert len(set(asked)) == len(asked)
    assert all(0 <= section < 6 and name in names for section, name in asked)
    assert mine[0]["section"] == mine[0]["structure"] == mine[0]["predicted_length"] == ""
    pixels, percent = numbers(mine, "effort_px"), numbers(mine, "effort_percent")
    np.testing.assert_allclose(pixels, np.cumsum(numbers(mine, "actual_length")), rtol=1e-5)
    np.testing.assert_allclose(percent, 100 * pixels / 1344, rtol=1e-5)
    assert percent[-1] <= 100
    assert (numbers(mine[1:], "predicted_length") >= 1).all()
    for kind in ("dice", "dice_unclamped"):
        classes = np.stack([numbers(mine, f"{kind}_{name}") for name in names[1:]])
        np.testing.assert_allclose(numbers(mine, kind), classes.mean(0), rtol=1e-5)
    assert numbers(mine, "dice")[-1] == 1  # it was told to go on to the end


def test_strategies_share_their_start(rows):
    starts = {tuple(of(rows, s)[0].values())[1:] for s in STRATEGIES}
    assert len(starts) == 1
    assert len({str([row["section"] for row in of(rows, s)]) for s in STRATEGIES}) > 1


def test_the_result(finished, rows):
    result = json.loads((finished[0] / "result.json").read_text())
    configuration, versions = result["configuration"], result["versions"]
    assert configuration == json.loads((finished[0] / "config.json").read_text())
    assert configuration["strategies"] == list(STRATEGIES)
    assert (configuration["seed"], configuration["training"]["crop"]) == (0, 32)
    assert {"al_jax", "jax", "jaxlib", "numpy", "python", "device"} <= set(versions)
    for strategy in STRATEGIES:
        mine, summary = of(rows, strategy), result["summary"][strategy]
        effort, dice = numbers(mine, "effort_percent"), numbers(mine, "dice")
        assert summary["queries"] == len(mine) - 1
        assert summary["initial_effort"] == pytest.approx(effort[0], abs=1e-3)
        assert summary["final_dice"] == pytest.approx(100 * dice[-1], abs=1e-3)
        for target in (80, 90, 95):
            at = effort_at(effort, dice, target / 100)
            assert summary[f"effort_at_{target}"] == pytest.approx(at, abs=1e-3)


@pytest.mark.slow
def test_another_seed_starts_elsewhere(here, rows, tmp_path):
    here(tmp_path, "--seed=1", "--strategies=Rand", "--target_dice=0")
    with open(tmp_path / "queries.csv", newline="") as file:
        (start,) = csv.DictReader(file)
    assert (start["strategy"], start["step"]) == ("Rand", "0")
    assert {k: start[k] for k in ("effort_px", "dice")} != {
        k: rows[0][k] for k in ("effort_px", "dice")
    }


# Again, and on after a stop.


@pytest.mark.slow
def test_the_same_command_again(here, finished, tmp_path):
    """All is there; then without what is written after the last checkpoint."""
    workdir = tmp_path / "again"
    shutil.copytree(finished[0], workdir, copy_function=shutil.copy2)
    before, written = results(finished[0]), stamps(workdir)
    here(workdir)
    assert results(workdir) == before and stamps(workdir) == written
    for name in ("result.json", "curve.png", "annotations.png"):
        (workdir / name).unlink()
    whole = (workdir / "queries.csv").read_text().splitlines(keepends=True)
    (workdir / "queries.csv").write_text("".join(whole[:-3]))
    here(workdir)
    assert results(workdir) == before and stamps(workdir) == written


@pytest.mark.slow
def test_a_table_that_is_ahead_of_the_checkpoints(here, finished, tmp_path):
    """Stopped after queries that no checkpoint holds yet: they are made again, just so."""
    workdir = tmp_path / "ahead"
    shutil.copytree(finished[0], workdir, copy_function=shutil.copy2)
    steps = sorted((workdir / "checkpoints" / "Rand").iterdir(), key=lambda path: int(path.name))
    shutil.rmtree(steps[-1])
    kept = {k: v for k, v in stamps(workdir).items() if "/Rand/" not in k}
    (workdir / "result.json").unlink()
    here(workdir)
    assert results(workdir) == results(finished[0])
    assert {k: v for k, v in stamps(workdir).items() if "/Rand/" not in k} == kept


@pytest.mark.slow
def test_stopped_runs_end_as_if_they_had_not_been(bench, here, finished, tmp_path):
    """To the same bytes, as the same command is wherever it runs."""
    workdir = tmp_path / "stopped"
    status, err = bench.stop(workdir, lambda: bool(half_written(workdir, NETWORK)))
    assert (status, err) == (-signal.SIGKILL, "")
    status, err = bench.stop(workdir, lambda: count_rows(workdir) > 4, signal.SIGINT)
    assert status == 130
    assert err.splitlines()[-1] == "stopped; run the same command again"
    assert "Traceback" not in err
    here(workdir)
    assert results(workdir) == results(finished[0])
    assert half_written(workdir) == []


@pytest.mark.slow
def test_a_run_that_is_killed_between_its_strategies_ends_as_if_it_had_not_been(
    bench, finished, tmp_path
):
    workdir = tmp_path / "killed"
    status, _ = bench.stop(workdir, lambda: bool(half_written(workdir, "Da")))
    assert status == -signal.SIGKILL
    bench.run(workdir)
    assert results(workdir) == results(finished[0])
    assert half_written(workdir) == []


@pytest.mark.slow
@pytest.mark.parametrize("seed", [0, 1])
def test_many_kills_at_random_moments(bench, finished, tmp_path, seed):
    """Five kills each: at a random time, or at a random time while a checkpoint is written."""
    rng, workdir, kills = random.Random(seed), tmp_path / "killed", 0
    for attempt in range(20):
        process, writing = bench.start(workdir), attempt % 2 == 0
        time.sleep(rng.uniform(2, 14))
        begun = time.monotonic()
        while writing and process.poll() is None and not half_written(workdir):
            assert time.monotonic() - begun < PATIENCE
            time.sleep(0.001)
        time.sleep(rng.uniform(0, 0.2) if writing else 0)
        killed = process.poll() is None
        process.kill()
        _, err = process.communicate()
        assert killed or process.returncode == 0, err
        kills += killed
        if kills == 5:
            break
        if not killed:  # done before its time came: the next one starts from nothing
            shutil.rmtree(workdir)
    assert kills == 5
    bench.run(workdir)
    assert results(workdir) == results(finished[0])
    assert half_written(workdir) == []
