"""The sweep: its grid, its directories, its workers, and that no stop or failure harms the rest.

Real sweeps on the small stack share a compilation cache; tests of the scheduler have workers that
only pretend (`pretend_worker`).
"""

import contextlib
import csv
import io
import itertools
import json
import os
import pathlib
import random
import shlex
import shutil
import signal
import subprocess
import sys
import time
import types
from collections.abc import Callable, Iterator

import jax
import pytest
import tiny
from absl import flags
from absl.testing import flagsaver
from commands import caller, flags_of
from distributed import Client, KilledWorker, LocalCluster, get_worker

from al_jax.commands import folders
from al_jax.core.stack import InputError
from al_jax.files.stacks import write_stack
from al_jax.learner.config import flatten, from_json, to_json
from experiments import sweep
from experiments.sweeps import clusters, grid, identity, units, workers
from experiments.sweeps.plan import plan

ROOT = pathlib.Path(__file__).parents[1]
FLAGS = flags.FLAGS
# A fork in a process with JAX's threads may never come back.
pytestmark = pytest.mark.filterwarnings(r"error:os\.fork\(\) was called")
SETTINGS = (
    "--plugin=pixelwise",  # which workers load as well
    "--network=pixelwise",
    "--crop=32",
    "--initial_steps=60",
    "--query_steps=2",
    "--target_dice=1",  # so that all runs ask until the effort is spent, however they round
    "--max_effort=0.6",
    "--checkpoint_seconds=0",
)
GRID = ("--strategies=Da,Rand", "--seed=0,1")
PATIENCE = 300


@pytest.fixture(scope="module", autouse=True)
def own_flags() -> Iterator[None]:
    """The flags of the command, for the tests of this module only."""
    with flags_of(sweep):
        yield


@pytest.fixture
def folder(tmp_path: pathlib.Path, monkeypatch) -> pathlib.Path:
    """The working directory, with two good stacks and a broken one in it."""
    monkeypatch.chdir(tmp_path)
    for seed, name in enumerate("ab"):
        write_stack(f"{name}.npz", tiny.stack(seed))
    pathlib.Path("broken.npz").write_bytes(pathlib.Path("a.npz").read_bytes()[:-100])
    return tmp_path


@pytest.fixture
def call(folder, monkeypatch, capsys) -> Callable[..., tuple[int, str, str]]:
    """Runs the command in this process; exit status, standard output and standard error."""
    return caller(sweep, monkeypatch, capsys)


def refusal(said: tuple[int, str, str]) -> str:
    status, out, err = said
    assert (status, out) == (2, "")
    assert err.startswith("error: ") and err.count("\n") == 1, err
    return err.removeprefix("error: ").strip()


# The grid.


def planned_by(workdir: pathlib.Path, *arguments: str) -> list[units.RunUnit]:
    """What a command line plans."""
    with flagsaver.flagsaver():
        FLAGS(["sweep", *arguments])
        given = {name: FLAGS[name].value for name in grid.lists()}
        given = {name: value for name, value in given.items() if value is not None}
        return plan(workdir, grid.read_grids(FLAGS.config, given))


def test_weights_are_found_from_wherever_a_worker_runs(folder, monkeypatch):
    monkeypatch.setenv("HOME", str(folder))
    for written in ("~/vgg.npz", "vgg.npz", f"{folder}/vgg.npz"):
        (values,) = grid.points([{"weights": [written], "strategies": ["BDa"]}])
        assert grid.weights_file(values) == str(folder / "vgg.npz")
        assert f"--weights={folder / 'vgg.npz'}" in grid.arguments(values)


@pytest.mark.parametrize("code", ["utf-8-sig", "utf-16"])
def test_a_grid_as_windows_saves_it(folder, code):
    (folder / "grid.toml").write_bytes('stack = "a.npz"\r\nseed = [1, 2]\r\n'.encode(code))
    assert grid.read_grids("grid.toml", {})[0]["seed"] == ["1", "2"]
    (folder / "grid.toml").write_bytes("# \u00e4\nseed = 1\n".encode("cp1252"))
    with pytest.raises(InputError, match=r"grid\.toml: line 1 has the byte 0xe4.*save it as UTF-8"):
        grid.read_grids("grid.toml", {})


def test_a_path_with_a_comma_stands_in_quotes(folder):
    os.rename(folder / "a.npz", folder / "a,c.npz")
    planned = planned_by(folder, '--stack="a,c.npz",b.npz', "--strategies=BDa")
    assert [run.name for run in planned] == ["a,c.npz", "b.npz"]
    (folder / "grid.toml").write_text('stack = ["a,c.npz"]\nstrategies = "BDa"\n')
    planned = planned_by(folder, "--config=grid.toml")
    assert [run.name for run in planned] == ["a,c.npz"]


def test_a_grid_is_the_product_of_its_lists(folder):
    planned = planned_by(
        folder,
        "--stack=a.npz,b.npz",
        "--strategies=BDa,BDa_CE",
        "--seed=3,4",
        "--count_background=true,false",
        "--alpha=0.25",
    )
    found = {
        (
            run.name,
            run.configuration["strategy"],
            run.configuration["seed"],
            run.configuration["annotator"]["count_background"],
        )
        for run in planned
    }
    wanted = itertools.product(("a.npz", "b.npz"), ("BDa", "BDa_CE"), (3, 4), (True, False))
    assert len(planned) == len({run.folder for run in planned}) == 16
    assert found == set(wanted)
    assert {run.configuration["query"]["alpha"] for run in planned} == {0.25}
    assert {run.configuration["max_effort"] for run in planned} == {1.0}
    # Networks differ by stack, seed and loss alone.
    assert len({run.network.folder for run in planned}) == 8
    assert len(os.listdir(folder / "stacks")) == 2


def test_five_alphas_are_five_runs_from_one_network(folder):
    planned = planned_by(
        folder, "--stack=a.npz", "--strategies=BDa", "--alpha=0,0.25,0.5,.75,1,1.0"
    )
    assert [run.configuration["query"]["alpha"] for run in planned] == [0, 0.25, 0.5, 0.75, 1]
    assert len({run.folder for run in planned}) == 5
    assert all(run.network == planned[0].network for run in planned)


@pytest.mark.parametrize(
    ("flag", "shared"),
    [
        ("length=crofton", True),
        ("query_steps=2", True),
        ("min_effort=3", True),
        ("margin=1", False),
        ("initial_steps=2", False),
        ("learning_rate=0.1", False),
        ("crop=48", False),
        ("seed=1", False),
        ("strategies=BDa_CE", False),
    ],
)
def test_runs_share_a_network_if_its_training_is_the_same(folder, flag, shared):
    (one,) = planned_by(folder, "--stack=a.npz", "--strategies=BDa")
    (other,) = planned_by(folder, "--stack=a.npz", "--strategies=BDa", f"--{flag}")
    assert one.folder != other.folder
    assert (one.network.folder == other.network.folder) == shared


def test_no_flag_is_what_a_simulation_does(folder):
    planned = planned_by(folder)
    assert [run.name for run in planned] == ["colin27.npz"] * 3
    assert [run.configuration["strategy"] for run in planned] == ["BDa", "SEr", "Rand"]


def test_a_file_with_two_grids(folder):
    pathlib.Path("two.toml").write_text(
        'stack = "a.npz"\nseed = [0, 1]\nalpha = 0.5\n'
        '[[grid]]\nstrategies = ["BDa", "Da"]\n'
        '[[grid]]\nstrategies = "Rand"\nseed = 7\ncount_background = true\n'
    )
    planned = planned_by(folder, "--config=two.toml", "--alpha=1")
    found = [
        (c["strategy"], c["seed"], c["count_background"], c["alpha"])
        for c in (flatten(run.configuration) for run in planned)
    ]
    assert sorted(found) == [
        ("BDa", 0, False, 1.0),
        ("BDa", 1, False, 1.0),
        ("Da", 0, False, 1.0),
        ("Da", 1, False, 1.0),
        ("Rand", 7, True, 1.0),
    ]


@pytest.mark.parametrize(
    ("arguments", "text", "says"),
    [
        (["--alpha=0,1.5"], None, "flag --alpha=1.5: "),
        (["--alpha=0,nan"], None, "flag --alpha=nan: give a finite number"),
        (["--seed=0,x"], None, "flag --seed=x: "),
        (["--network=small,huge"], None, "network 'huge' is not one of full, "),
        (["--strategies=BDa,Best"], None, "strategy 'Best' is unknown; use BDa, Da,"),
        (["--strategies="], None, "--strategies is empty; give at least one value"),
        (["--images=a.nii"], None, "Unknown command line flag 'images'"),
        (["--jobs=0"], None, "flag --jobs=0: "),
        (["--config=none.toml"], None, "none.toml: there is no such file; check the path"),
        ([], "alpha = ", "bad.toml: cannot be read (Invalid value"),
        (
            [],
            "alhpa = 1",
            "bad.toml: 'alhpa' is no setting; use stack, seed, weights, from, preset",
        ),
        ([], "alpha = [0, 2]", "bad.toml: flag --alpha=2: "),
        ([], "[[grid]]\nseed = 0.5", "bad.toml: flag --seed=0.5: "),
        ([], "[alpha]\na = 1", "bad.toml: 'alpha' is neither a value nor a list of values"),
        ([], "[grid]\nseed = 1", "bad.toml: 'grid' is no table; begin each grid with [[grid]]"),
        ([], "seed = []", "bad.toml: --seed is empty; give at least one value"),
        (["--seed=0"], "strategies = 'BDa,Da'", "bad.toml: strategy 'BDa,Da' is unknown"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else value and value[:12],
)
def test_what_is_refused_before_anything_runs(call, folder, arguments, text, says):
    if text is not None:
        (folder / "bad.toml").write_text(text)
        arguments = [*arguments, "--config=bad.toml"]
    assert refusal(call(*arguments, "--workdir=out")).startswith(says)
    assert not (folder / "out").exists()


def test_a_directory_of_something_else(call, folder):
    (folder / "out").mkdir()
    (folder / "out" / "thesis.tex").touch()
    line = refusal(call("--workdir=out"))
    assert line == "out: holds files of something else (thesis.tex); choose another --workdir"
    assert refusal(call("--workdir=a.npz")) == "a.npz: Not a directory; choose another --workdir"


def test_folders_of_somebody_else_are_left_alone(call, folder):
    checkpoints, failed = (folder / "runs" / name for name in ("mine/checkpoints", "0" * 16))
    checkpoints.mkdir(parents=True)
    (checkpoints.parent / "result.json").touch()
    (checkpoints.parent / "config.json").touch()
    failed.mkdir()
    (failed / "error.json").touch()
    refusal(call("--workdir=.", "--config=broken.npz"))
    sweep.tidy(folder)
    assert checkpoints.is_dir() and (failed / "error.json").exists()
    (failed / "config.json").touch()
    sweep.tidy(folder)
    assert not failed.exists()


def test_a_directory_without_room_for_stacks(call, folder):
    (folder / "out").mkdir()
    (folder / "out" / "stacks").touch()
    status, _, err = call("--workdir=out", "--stack=a.npz")
    assert status == 1 and "out/stacks: File exists; choose another --workdir" in err


def test_of_two_sweeps_in_a_directory_the_second_is_refused(call, folder):
    with folders.hold(folder / "out"):
        line = refusal(call("--workdir=out", "--stack=a.npz"))
    assert line.startswith("out: another process is at work in it (process ")


# Workers that pretend.


@pytest.fixture
def pretending(monkeypatch) -> None:
    everywhere = clusters.Place(frozenset(os.sched_getaffinity(0)), {})
    monkeypatch.setattr(clusters, "find_places", lambda count: [everywhere] * (count or 2))
    monkeypatch.setattr(clusters, "PRELOAD", str(ROOT / "tests" / "pretend_worker.py"))


def outcomes(workdir: pathlib.Path) -> dict[tuple[str, int], str]:
    """The line of each run that failed, by strategy and seed."""
    found = {}
    for error in workdir.glob("runs/*/error.json"):
        c = json.loads((error.parent / "config.json").read_text())
        found[c["strategy"], c["seed"]] = json.loads(error.read_text())["error"]
    return found


@pytest.mark.slow
def test_failures_are_recorded_and_the_others_go_on(call, folder, pretending):
    arguments = ("--workdir=out", "--stack=a.npz", "--strategies=H,HB,HBDa,Da,Rand", "--seed=0,9")
    status, out, err = call(*arguments)
    killed = "its process died 3 times without getting further, for want of memory perhaps; use "
    network = {(s, 9): "the loss is not finite" for s in ("H", "HB", "HBDa", "Da", "Rand")}
    failed = {("H", 0): f"{killed}fewer --jobs", ("HB", 0): "not today", **network}
    assert status == 1, err
    assert outcomes(folder / "out") == failed
    (attempts,) = folder.glob("out/runs/*/attempts")
    assert attempts.read_text() == "111"
    assert out == (
        "out: 10 runs: 3 ran, 0 were there, 7 failed; "
        "next: python -m experiments.report --sweep=out\n"
    )
    bar, *lines = err.splitlines()
    assert "100%" in bar and "done 3, running 0, failed 7, of 10" in bar
    assert sorted(line.split(": ", 1)[1] for line in lines) == sorted(failed.values())
    assert all((folder / line.split(": ")[0]).is_dir() for line in lines)
    assert not list(folder.glob("out/**/.*"))
    # The next one tries these again, and only these.
    status, out, _ = call(*arguments[:2], "--strategies=Da,HB,Rand", "--seed=0")
    assert (status, out.split("; ")[0]) == (1, "out: 3 runs: 0 ran, 2 were there, 1 failed")


@pytest.mark.slow
def test_a_file_that_is_mended_leaves_no_failure(call, folder, pretending):
    arguments = ("--workdir=out", "--stack=broken.npz,b.npz", "--strategies=Da", "--jobs=1")
    assert call(*arguments)[0] == 1
    assert list(outcomes(folder / "out")) == [("Da", 0)]
    os.replace("a.npz", "broken.npz")
    status, out, err = call(*arguments)
    assert (status, out.split("; ")[0]) == (0, "out: 2 runs: 1 ran, 1 were there, 0 failed"), err
    assert outcomes(folder / "out") == {}
    assert len(list(folder.glob("out/runs/*/result.json"))) == 2


def test_a_full_disk_ends_the_sweep(call, folder, pretending):
    arguments = ("--workdir=out", "--stack=a.npz", "--strategies=HDa", "--jobs=1")
    status, out, err = call(*arguments)
    line = "error: OSError: [Errno 28] No space left on device"
    assert (status, out, err.splitlines()[-1]) == (2, "", line)
    assert outcomes(folder / "out") == {}


def test_networks_come_first_and_of_both_the_longest(folder):
    """As a scheduler gets them: the order, and what each waits for."""
    runs = planned_by(folder, "--stack=a.npz", "--query_steps=1,3,2", "--strategies=Da,BDa_CE")
    asked = []

    class Done:
        def __init__(self, key):
            self.key = key

        def result(self, timeout):
            return "done", ""

        def add_done_callback(self, call):
            call(self)

    class Client:
        status = "running"

        def submit(self, function, data, seconds, *before, key, priority):
            asked.append((priority, units.from_data(data), before))
            return Done(key)

        def subscribe_topic(self, *_):
            pass

        def nthreads(self):
            return {"one": 1}

    @contextlib.contextmanager
    def open_client(most):
        assert most == 8
        yield Client()

    assert workers.carry_out(runs, 0, open_client) == {}
    priorities, sent, before = zip(*asked, strict=True)
    assert list(priorities) == sorted(priorities, reverse=True)
    assert [type(unit) for unit in sent] == [units.NetworkUnit] * 2 + [units.RunUnit] * 6
    assert [unit.configuration["training"]["query_steps"] for unit in sent[2:]] == [
        3,
        3,
        2,
        2,
        1,
        1,
    ]
    keys = {unit.folder: unit.key for unit in sent[:2]}
    assert [[f.key for f in b] for b in before] == [[], []] + [
        [keys[unit.network.folder]] for unit in sent[2:]
    ]


@contextlib.contextmanager
def in_this_process() -> Iterator[Client]:
    """A cluster of one thread."""
    with (
        LocalCluster(
            n_workers=1, threads_per_worker=1, processes=False, dashboard_address=None
        ) as c,
        Client(c) as client,
    ):
        yield client


def test_what_is_lost_runs_again(folder, monkeypatch):
    """Also where the scheduler's own patience is at its end, as with clusters that others began."""
    (run,) = planned_by(folder, "--stack=a.npz", "--strategies=Da")
    log = folder / "log"

    def work(*_):
        with log.open("a") as file:
            file.write("x")
        if len(log.read_text()) < 4:
            raise KilledWorker("unit", types.SimpleNamespace(address="tcp://lost"), 3)
        return "done", ""

    monkeypatch.setattr(units, "work", work)
    with in_this_process() as client:
        found = [o for o in workers._outcomes(client, [run.network], 0) if o[0] is not None]
    assert found == [(run.network, "done", "")] and log.read_text() == "xxxx"


def test_other_sweeps_may_share_a_cluster(folder, monkeypatch):
    runs = planned_by(folder, "--stack=a.npz", "--strategies=Da")

    def work(*_):
        get_worker().log_event(units.PROGRESS, ("run-of-another-sweep", 0.5))
        time.sleep(1.0)
        return "done", ""

    monkeypatch.setattr(units, "work", work)
    heard = []
    monkeypatch.setattr(workers.Progress, "show", lambda *_, **said: heard.append(said))
    with in_this_process() as client:
        assert workers.carry_out(runs, 0, lambda _: contextlib.nullcontext(client)) == {}
    assert {said["running"] for said in heard} == {"0"}


@pytest.mark.parametrize(
    ("error", "line", "how"),
    [
        (InputError("a\n b"), "a b", "failed"),
        (MemoryError("out of  it"), "MemoryError: out of it", "failed"),
        (OSError(28, "Full"), "OSError: [Errno 28] Full", "full"),
        (ValueError("No space left on device"), "ValueError: No space left on device", "full"),
    ],
)
def test_what_a_worker_says_of_a_failure(monkeypatch, tmp_path, error, line, how):
    def perform(*_):
        try:
            raise error
        except Exception as reason:
            raise InputError("in our words") from reason

    unit = units.NetworkUnit(str(tmp_path), {"initial_steps": 3}, "", None)
    monkeypatch.setattr(units, "train", perform)
    assert units.attempt(unit, 0, print) == (how, "in our words")
    units.forget_failure(unit)
    monkeypatch.setattr(units, "train", lambda *_: (_ for _ in ()).throw(error))
    assert units.attempt(unit, 0, print) == (how, line)


def test_a_worker_keeps_the_programs_of_one_stack(monkeypatch):
    forgot = []
    monkeypatch.setattr(units.jax, "clear_caches", lambda: forgot.append(stack))
    units.keep_programs_of.cache_clear()
    for stack in ("a", "a", "b", "b", "a"):
        units.keep_programs_of(stack)
    assert forgot == ["a", "b", "a"]


def test_a_stack_that_a_worker_cannot_read_is_a_failure_with_a_line(folder):
    (run,) = planned_by(folder, "--stack=a.npz", "--strategies=Da")
    kept = pathlib.Path(run.network.stack)
    kept.write_bytes(kept.read_bytes()[:-100])
    for unit in (run.network, run):
        how, line = units.attempt(unit, 0, print)
        assert how == "failed" and "cannot be read as an npz file" in line
        assert units.failure(unit) == line and not unit.done
        assert not list(pathlib.Path(unit.folder).glob(".*"))


def test_a_copy_of_a_stack_that_was_damaged_is_written_again(folder):
    """For runs that share it by a link, and for those that have a copy of it."""
    (run,) = planned_by(folder, "--stack=a.npz", "--strategies=Da")
    kept = pathlib.Path(run.network.stack)
    whole = kept.read_bytes()
    linked, copied = (folder / "runs" / name for name in ("linked", "copied"))
    for place in (linked, copied):
        place.mkdir(parents=True)
    units.place_stack(kept, linked)
    for damage in (whole[:-100], (folder / "b.npz").read_bytes()):
        with open(kept, "r+b") as file:  # as a disk does: every name of it is damaged
            file.write(damage)
            file.truncate()
        (copied / "stack.npz").write_bytes(damage)
        assert planned_by(folder, "--stack=a.npz", "--strategies=Da") == [run]
        assert kept.read_bytes() == (linked / "stack.npz").read_bytes() == whole
        assert kept.samefile(linked / "stack.npz")
        units.place_stack(kept, copied)  # as a run does when it begins
        assert (copied / "stack.npz").read_bytes() == whole


def test_units_and_settings_survive_as_plain_data(folder):
    (run,) = planned_by(
        folder, "--stack=a.npz", "--strategies=BDa", "--alpha=0.25", "--crop=32", "--field=paper"
    )
    for unit in (run, run.network):
        assert units.from_data(json.loads(json.dumps(units.to_data(unit)))) == unit
    config = from_json(run.configuration)
    assert (config.query.alpha, config.training.crop) == (0.25, 32)
    assert config.training.augmentation.field == "paper"
    assert json.loads(json.dumps(to_json(config))).items() <= run.configuration.items()


def test_places(monkeypatch):
    """On a CPU equal shares of the cores; on accelerators one device each."""
    said = {"out": "cpu 1"}

    def answer(*_, **__):
        return subprocess.CompletedProcess([], 0, said["out"] + "\n", "")

    monkeypatch.setattr(subprocess, "run", answer)
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(2, 7)))
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    find_places = clusters.find_places
    assert [place.cores for place in find_places(None)] == [{c} for c in range(2, 7)]
    assert [place.cores for place in find_places(2)] == [{2, 3}, {4, 5}]
    assert [place.cores for place in find_places(6)][4:] == [{6}, {2}]
    said["out"] = "gpu 2"
    assert [p.environment for p in find_places(None)] == [
        {"CUDA_VISIBLE_DEVICES": "0"},
        {"CUDA_VISIBLE_DEVICES": "1"},
    ]
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "5,3")
    assert [p.environment["CUDA_VISIBLE_DEVICES"] for p in find_places(3)] == ["5", "3", "5"]
    assert all("XLA_PYTHON_CLIENT_PREALLOCATE" in p.environment for p in find_places(3))


# Real sweeps.


class Bench:
    """A small stack, a broken one, and the command on both."""

    def __init__(self, folder: pathlib.Path):
        self.folder = folder
        write_stack(folder / "good.npz", tiny.stack())
        whole = (folder / "good.npz").read_bytes()
        (folder / "broken.npz").write_bytes(whole[:-100])
        self.environment = os.environ | {"PYTHONPATH": f"{ROOT}{os.pathsep}{ROOT / 'tests'}"}
        # One core a worker, whatever the machine has, so that all round alike.
        self.core = min(os.sched_getaffinity(0))

    def start(self, workdir: pathlib.Path, *more: str) -> subprocess.Popen[str]:
        return self.on_one_core(
            [
                sys.executable,
                "-m",
                "experiments.sweep",
                f"--workdir={workdir}",
                "--jobs=1",
                f"--stack={self.folder / 'good.npz'},{self.folder / 'broken.npz'}",
                *GRID,
                *SETTINGS,
                *more,
            ],
            cwd=ROOT,
        )

    def on_one_core(self, command: list[str], cwd: pathlib.Path) -> subprocess.Popen[str]:
        """Starts a command; the core is inherited, as a `preexec_fn` would fork."""
        cores = os.sched_getaffinity(0)
        os.sched_setaffinity(0, {self.core})
        try:
            return subprocess.Popen(
                command,
                cwd=cwd,
                env=self.environment,
                text=True,
                start_new_session=True,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
            )
        finally:
            os.sched_setaffinity(0, cores)

    def run(self, workdir: pathlib.Path, *more: str) -> tuple[int, str, str]:
        process = self.start(workdir, *more)
        out, err = process.communicate(timeout=PATIENCE)
        return process.returncode, out, err


@pytest.fixture(scope="module")
def bench(tmp_path_factory) -> Bench:
    return Bench(tmp_path_factory.mktemp("bench"))


@pytest.fixture(scope="module")
def undisturbed(bench) -> tuple[pathlib.Path, int, str, str]:
    """The directory of a sweep that nothing stopped, and what it said."""
    return bench.folder / "whole", *bench.run(bench.folder / "whole")


def tables(workdir: pathlib.Path) -> dict[str, bytes]:
    return {p.parent.name: p.read_bytes() for p in workdir.glob("runs/*/queries.csv")}


def reported(bench: Bench, workdir: pathlib.Path) -> tuple[str, dict[str, bytes]]:
    """What the report on a sweep says, and its tables."""
    out = bench.folder / f"report_{workdir.name}"
    done = subprocess.run(
        [sys.executable, "-m", "experiments.report", f"--sweep={workdir}", f"--out={out}"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=PATIENCE,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.endswith(f"; {out / 'report.html'}\n")
    return done.stdout, {path.name: path.read_bytes() for path in out.glob("*.csv")}


@pytest.fixture(scope="module")
def its_report(bench, undisturbed) -> tuple[str, dict[str, bytes]]:
    """The report on the sweep that nothing stopped."""
    return reported(bench, undisturbed[0])


def stamps(workdir: pathlib.Path) -> dict[pathlib.Path, int]:
    """When each finished run and each checkpoint of a network was written."""
    files = [
        *workdir.glob("runs/*/result.json"),
        *workdir.glob("networks/*/*/_CHECKPOINT_METADATA"),
    ]
    return {path: path.stat().st_mtime_ns for path in files}


def test_what_a_user_of_the_sweep_sees(bench, undisturbed):
    workdir, status, out, err = undisturbed
    assert status == 1
    assert out == (
        f"{workdir}: 8 runs: 4 ran, 0 were there, 4 failed; "
        f"next: python -m experiments.report --sweep={workdir}\n"
    )
    *progress, one, two, three, four = err.splitlines()
    assert all(line.startswith("    sweep ") for line in progress), err
    assert all("broken.npz: cannot be read as an npz file" in x for x in (one, two, three, four))


def test_what_is_in_the_directory_of_a_sweep(undisturbed):
    workdir = undisturbed[0]
    assert sorted(os.listdir(workdir)) == ["networks", "runs", "stacks"]
    (stack,) = (workdir / "stacks").iterdir()
    assert len(os.listdir(workdir / "networks")) == 2
    finished = sorted(path.parent for path in workdir.glob("runs/*/result.json"))
    assert len(finished) == 4 and len(os.listdir(workdir / "runs")) == 8
    seen = set()
    for run in finished:
        files = ["config.json", "queries.csv", "result.json", "stack.npz", "surfaces.csv"]
        assert sorted(os.listdir(run)) == files
        result = json.loads((run / "result.json").read_text())
        c = result["configuration"]
        assert result["input"] == {
            "stack": "good.npz",
            "section_names": list(tiny.stack().sections),
            "classes": list(tiny.stack().names),
        }
        assert c == json.loads((run / "config.json").read_text())
        assert run.name == identity.digest(c) and c["stack"] == stack.stem
        assert (run / "stack.npz").samefile(stack)
        assert result["record"]["machine"]["cores"] == 1
        header, *rows = (run / "queries.csv").read_text().splitlines()
        assert header.startswith("strategy,step,section,section_name,structure,")
        assert {row.split(",")[0] for row in rows} == {c["strategy"]}
        assert result["summary"]["queries"] == len(rows) - 1 > 1
        _, *surfaces = (run / "surfaces.csv").read_text().splitlines()
        told = [tuple(row.split(",")[:2]) for row in surfaces]
        assert told == [(c["strategy"], name) for name in tiny.stack().names]
        truth = tiny.stack()
        assert [name for _, name in result["start"]] == list(truth.names)
        assert all((truth.truth[n] == truth.names.index(s)).any() for n, s in result["start"])
        seen.add((c["strategy"], c["seed"]))
    assert seen == {("Da", 0), ("Da", 1), ("Rand", 0), ("Rand", 1)}
    for run in {path.parent for path in workdir.glob("runs/*/error.json")}:
        assert sorted(os.listdir(run)) == ["config.json", "error.json"]
        assert "broken.npz: cannot" in json.loads((run / "error.json").read_text())["error"]


def test_its_report_is_of_the_runs_that_ended(its_report):
    said, found = its_report
    assert said.startswith("4 runs, 4 not reported; ") and said.endswith("report.html\n")
    rows = list(csv.DictReader(io.StringIO(found["runs.csv"].decode())))
    assert {(row["method"], row["seed"]) for row in rows} == {
        (method, seed) for method in ("Da", "Rand") for seed in "01"
    }
    for row in rows:
        assert float(row["seconds"]) > 0 and row["started"].endswith("+00:00")
        assert f" --strategies={row['method']}" in row["command"]
        assert f"jax={jax.__version__} " in row["versions"] and len(row["strategy_digest"]) == 16
    problems = csv.DictReader(io.StringIO(found["problems.csv"].decode()))
    assert {row["kind"] for row in problems} == {"failed"}


@pytest.mark.slow
def test_a_report_while_the_sweep_runs_is_of_what_has_ended(bench, undisturbed, its_report):
    workdir = bench.folder / "running"
    shutil.copytree(undisturbed[0], workdir)
    process = bench.start(workdir, "--strategies=Da", "--seed=2", "--query_steps=1000000")
    begun = time.monotonic()
    while len(list(workdir.glob("runs/*/queries.csv"))) < 5:  # one that does not end has begun
        assert time.monotonic() - begun < PATIENCE and process.poll() is None
        time.sleep(0.05)
    found = reported(bench, workdir)[1]
    assert process.poll() is None
    os.killpg(process.pid, signal.SIGINT)
    process.communicate(timeout=30)
    rows = csv.DictReader(io.StringIO(found["problems.csv"].decode()))
    assert "has not ended; go on with the sweep" in {row["why"] for row in rows}
    before = its_report[1]
    assert all(found[name] == before[name] for name in before if name != "problems.csv")


@pytest.mark.slow
def test_the_same_sweep_again_repeats_nothing(bench, undisturbed):
    workdir, before = undisturbed[0], stamps(undisturbed[0])
    assert len(before) >= 6
    status, out, _ = bench.run(workdir)
    assert (status, stamps(workdir)) == (1, before)
    assert "8 runs: 0 ran, 4 were there, 4 failed" in out


@pytest.mark.slow
def test_the_command_of_a_run_repeats_it(bench, undisturbed):
    run = min(path.parent for path in undisturbed[0].glob("runs/*/result.json"))
    python, *arguments = shlex.split(json.loads((run / "result.json").read_text())["command"])
    assert python == "python"
    again = bench.folder / "again"
    repeating = bench.on_one_core([sys.executable, *arguments, f"--workdir={again}"], run)
    assert repeating.wait(timeout=PATIENCE) == 0
    assert (again / "queries.csv").read_bytes() == (run / "queries.csv").read_bytes()


def stop(
    bench: Bench, workdir: pathlib.Path, moment: Callable[[], bool], with_signal: int
) -> tuple[int | None, str]:
    """Stops a sweep at a moment; exit status (None: it had ended) and standard error.

    Its workers hold standard error too, so its end is theirs as well.
    """
    process, begun = bench.start(workdir, "--jobs=2"), time.monotonic()
    while process.poll() is None and not moment():
        assert time.monotonic() - begun < PATIENCE
        time.sleep(0.005)
    ended = process.poll() is not None
    if not ended:  # as a terminal does: Ctrl-C goes to all of them
        (os.killpg if with_signal == signal.SIGINT else os.kill)(process.pid, with_signal)
    _, err = process.communicate(timeout=30)
    return None if ended else process.returncode, err


def after(seconds: float) -> Callable[[], bool]:
    begun = time.monotonic()
    return lambda: time.monotonic() - begun > seconds


@pytest.mark.slow
def test_a_sweep_that_is_stopped_ends_as_if_it_had_not_been(bench, undisturbed):
    workdir = bench.folder / "stopped"

    def at_work() -> bool:
        return bool(list(workdir.glob("networks/*/config.json")))

    status, err = stop(bench, workdir, at_work, signal.SIGINT)
    assert (status, err) == (130, "stopped; run the same command again\n")
    moment = after(random.uniform(3, 8))
    status, _ = stop(bench, workdir, moment, signal.SIGKILL)
    assert status == -signal.SIGKILL
    before = stamps(workdir)
    bench.run(workdir)
    assert tables(workdir) == tables(undisturbed[0])
    assert before.items() <= stamps(workdir).items()
    assert not list(workdir.glob("**/*.tmp*")) and not list(workdir.glob("runs/*/checkpoints"))


@pytest.mark.slow
@pytest.mark.parametrize("seed", [0, 1])
def test_kills_at_random_moments(bench, undisturbed, its_report, seed):
    """Three of them; no finished run is done twice."""
    rng, workdir, kills = random.Random(seed), bench.folder / f"killed{seed}", 0
    finished: dict[pathlib.Path, int] = {}
    while kills < 3:
        status, _ = stop(bench, workdir, after(rng.uniform(3, 12)), signal.SIGKILL)
        assert finished.items() <= stamps(workdir).items()
        if status is None:  # done before its time came: the next one starts from nothing
            shutil.rmtree(workdir)
            kills, finished = 0, {}
            continue
        kills += 1
        finished = {k: v for k, v in stamps(workdir).items() if k.name == "result.json"}
    bench.run(workdir)
    assert finished.items() <= stamps(workdir).items()
    assert tables(workdir) == tables(undisturbed[0])
    found = reported(bench, workdir)[1]
    assert len(found) >= 10 and found == its_report[1]
