"""As a new user would: the demonstration, ten structures by mouse, closed, reopened, exported."""

import csv
import pathlib
import shutil
import subprocess
import sys
import venv

import jax
import numpy as np
import pytest
import tifffile

pytest.importorskip("napari", reason="napari is not installed")

import hands

import al_jax
from al_jax.core.strategies import SEr
from al_jax.learner.neighbours import make_fields
from al_jax.session import Settings, ledger
from al_jax.simulation import runner
from al_jax.simulation.prepare import prepare, with_fields
from al_jax.window.layers import held
from experiments.bench import rehearse

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("display")]
ROOT = pathlib.Path(__file__).parents[1]
ANSWERS = 10


STARTED = """
import sys
import al_jax
from napari import __main__ as program
sys.argv = ["napari", "-w", "al_jax"]
(widget,) = program._build_viewer().window.dock_widgets.values()
print(type(widget).__name__, al_jax.__file__, sep=chr(10))
"""


def test_napari_starts_the_plugin_of_a_wheel(tmp_path, monkeypatch):
    """In an environment that has nothing of this project but the wheel, in a folder of its own."""
    copy = tmp_path / "source"
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        copy.mkdir(exist_ok=True)
        shutil.copy(ROOT / name, copy)
    ignore = shutil.ignore_patterns("__pycache__")
    shutil.copytree(ROOT / "al_jax", copy / "al_jax", ignore=ignore)
    pip = [sys.executable, "-m", "pip", "--disable-pip-version-check"]
    alone = ["--quiet", "--no-deps", "--no-index", "--no-build-isolation"]
    subprocess.run([*pip, "wheel", *alone, f"--wheel-dir={tmp_path}", str(copy)], check=True)
    (wheel,) = tmp_path.glob("*.whl")
    venv.create(tmp_path / "env", symlinks=True)
    (site,) = tmp_path.glob("env/lib/python*/site-packages")
    packages = [path for path in sys.path if path.endswith("-packages")]
    (site / "dependencies.pth").write_text("\n".join(packages) + "\n")
    python = tmp_path / "env" / "bin" / "python"
    into = [*pip, "--python", str(python), "install", "--ignore-installed", *alone]
    subprocess.run([*into, str(wheel)], check=True)
    monkeypatch.delenv("PYTHONPATH", raising=False)
    done = subprocess.run(
        [str(python), "-c", STARTED], cwd=tmp_path, capture_output=True, text=True, timeout=300
    )
    assert "TypeError" not in done.stderr, done.stderr
    kind, place = done.stdout.split()[:2]
    assert kind == "Annotate" and pathlib.Path(place).is_relative_to(site), done.stdout


def _command(*arguments: str) -> str:
    call = [sys.executable, "-m", "experiments.annotate", *arguments]
    return subprocess.run(call, cwd=ROOT, check=True, capture_output=True, text=True).stdout


def _answer(workdir: pathlib.Path, truth: np.ndarray, count: int, picture: pathlib.Path) -> None:
    """Opens the window, answers `count` questions by mouse and keys, and closes it."""
    import napari

    from al_jax.window.widget import in_window

    viewer = napari.Viewer(show=False)
    widget = in_window(viewer)
    widget.open(workdir)
    hand = hands.Hand(viewer, widget)
    hand.wait(0.5)
    widget.controller.layer.brush_size = 1
    for _ in range(count):
        question = widget.controller.question
        mask = (truth[question.section] == question.structure) & question.inside
        hand.colour_in(mask)
        np.testing.assert_array_equal(held(widget.controller.layer), mask)
        viewer.screenshot(str(picture), canvas_only=False)
        hand.key("s" if mask.any() else "n")
        assert widget.controller.question is not question, widget.controller.message
    widget.close_session()
    viewer.close()


def test_ten_structures_of_the_demonstration(tmp_path):
    workdir = tmp_path / "my_stack"
    _command("init", f"--workdir={workdir}")
    stack = al_jax.load_default()
    for part in range(2):
        picture = tmp_path / f"{part}.png"
        _answer(workdir, stack.truth, ANSWERS // 2, picture)
        assert picture.stat().st_size > 20_000
    _command("export", f"--workdir={workdir}", "--formats=tiff")
    (traced,) = (workdir / "export").glob("traced.tif*")
    ids = tifffile.imread(traced)
    with open(workdir / "export" / "answers.csv", newline="") as file:
        answers = list(csv.DictReader(file))
    assert len(answers) == ANSWERS
    expected = np.zeros(stack.truth.shape, int)
    for answer in answers:
        n, c = int(answer["section"]), int(answer["structure"])
        expected[n][(stack.truth[n] == c) & stack.inside[n]] = c + 1
    np.testing.assert_array_equal(ids, expected)


def test_a_window_that_waits_asks_what_a_simulation_asks_to_the_end(tmp_path):
    import napari

    from al_jax.window.widget import in_window

    stack, config = al_jax.load_default(), Settings().config
    folder = tmp_path / "session"
    rehearse.begin(folder, rehearse.Judge(stack, config), 0)
    begun = len(ledger.read_ledger(folder)[0])
    viewer = napari.Viewer(show=False)
    widget = in_window(viewer)
    widget.open(folder, wait=True)
    hand = hands.Hand(viewer, widget)
    while widget.controller.question is not None:
        asked = widget.controller.question
        hand.key("d")
        while widget.controller.waiting:
            hand.wait(0.05)
            assert widget.controller.failure is None, widget.controller.failure
        assert widget.controller.question is not asked, widget.controller.message
    widget.close_session()
    viewer.close()
    events = ledger.read_ledger(folder)[0][begun:]
    asked = [(event["section"], stack.names.index(event["structure"])) for event in events]

    prepared = prepare(jax.random.key(0), stack, config)
    prepared = with_fields(prepared, make_fields(stack))
    network = runner.train_network(prepared, config)
    records = runner.run_strategy(SEr, prepared, network, config)[1]
    expected = np.stack([records.section[1:], records.structure[1:]], 1)
    np.testing.assert_array_equal(asked, expected)
