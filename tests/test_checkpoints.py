"""Checkpoints of a run: bit for bit, whole or not there at all."""

import itertools
import os
import pathlib
import shutil
import signal
import subprocess
import sys

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import tiny
from absl import logging

from al_jax.core.stack import InputError
from al_jax.core.strategies import BDa
from al_jax.files import checkpoints
from al_jax.learner import config as settings
from al_jax.learner.config import model_of
from al_jax.model.training import init_train_state
from al_jax.simulation import annotator, loop
from al_jax.simulation.task import make_task

CONFIG = settings.Config()


def _shapes():
    """The shapes of (run, record) of a simulation of the small network."""

    def begun(key):
        task = make_task(jax.tree.map(jnp.asarray, tiny.stack()), CONFIG)
        state = annotator.start(key, task, CONFIG)
        network = init_train_state(key, model_of(CONFIG, tiny.CLASSES))
        return loop.begin(network, state, task, CONFIG, BDa)

    return jax.eval_shape(begun, jax.random.key(0))


@pytest.fixture(scope="module")
def run():
    """A run and its record, filled with random bits and values that are easily lost."""
    rng = np.random.default_rng(0)

    def fill(leaf):
        if jnp.issubdtype(leaf.dtype, jax.dtypes.prng_key):
            return jax.random.fold_in(jax.random.key(7), 9)
        if leaf.dtype == bool:
            return jnp.asarray(rng.random(leaf.shape) < 0.5)
        if leaf.dtype == jnp.float32:
            values = np.asarray(rng.normal(size=leaf.shape), np.float32)
            odd = np.array([np.nan, -0.0, 1e-42, np.inf], np.float32)
            values.flat[: min(values.size, 4)] = odd[: min(values.size, 4)]
            return jnp.asarray(values)
        return jnp.asarray(rng.integers(-1, 100, leaf.shape), leaf.dtype)

    return jax.tree.map(fill, _shapes())


def _assert_same(found, expected):
    assert jax.tree.structure(found) == jax.tree.structure(expected)

    def same(a, b):
        assert a.dtype == b.dtype and a.shape == b.shape
        if jnp.issubdtype(b.dtype, jax.dtypes.prng_key):
            a, b = jax.random.key_data(a), jax.random.key_data(b)
        assert np.asarray(a).tobytes() == np.asarray(b).tobytes()

    jax.tree.map(same, found, expected)


def _numbers(value):
    return {"a": jnp.full((2, 3), value, jnp.float32), "b": jnp.int16(value)}


def _assert_latest(saved, step, tree):
    found = checkpoints.restore(saved, _numbers(0))
    assert found[0] == step
    _assert_same(found[1], tree)


def test_nothing_saved_is_none(tmp_path):
    with checkpoints.open_checkpoints(tmp_path / "new" / "folder") as saved:
        assert checkpoints.restore(saved, _numbers(0)) is None


def test_a_run_comes_back_bit_for_bit(tmp_path, run):
    with checkpoints.open_checkpoints(tmp_path) as saved:
        checkpoints.save(saved, 3, run)
        step, found = checkpoints.restore(saved, run)
    assert step == 3
    _assert_same(found, run)
    # And opened afresh, asked for by a tree of other values.
    like = jax.tree.map(lambda leaf: jnp.roll(leaf, 1, 0) if leaf.ndim else leaf, run)
    with checkpoints.open_checkpoints(tmp_path) as saved:
        step, found = checkpoints.restore(saved, like)
    assert step == 3
    _assert_same(found, run)
    key = found[0].state.key
    np.testing.assert_array_equal(jax.random.bits(key), jax.random.bits(run[0].state.key))


def test_the_latest_is_restored_and_two_are_kept(tmp_path):
    with checkpoints.open_checkpoints(tmp_path) as saved:
        for step in (1, 5, 9, 12):
            checkpoints.save(saved, step, _numbers(step))
        _assert_latest(saved, 12, _numbers(12))
    assert sorted(p.name for p in tmp_path.iterdir()) == ["12", "9"]


def test_a_step_is_written_once(tmp_path):
    with checkpoints.open_checkpoints(tmp_path) as saved:
        checkpoints.save(saved, 4, _numbers(4))
        checkpoints.save(saved, 4, _numbers(5))
        _assert_latest(saved, 4, _numbers(4))


def test_a_leaf_may_have_grown(tmp_path):
    # The records of a run get longer; what is asked for is the structure.
    grown = {"a": jnp.arange(15.0).reshape(5, 3), "b": jnp.int16(2)}
    with checkpoints.open_checkpoints(tmp_path) as saved:
        checkpoints.save(saved, 1, grown)
        _assert_latest(saved, 1, grown)


@pytest.mark.parametrize(
    "other",
    [
        {"a": jnp.zeros((2, 3))},
        {"a": jnp.zeros((2, 4)), "b": jnp.int16(0)},
        {"a": jnp.zeros((2, 3)), "b": jnp.int32(0)},
    ],
    ids=["leaf", "shape", "dtype"],
)
def test_another_layout_is_refused(tmp_path, other):
    with checkpoints.open_checkpoints(tmp_path) as saved:
        checkpoints.save(saved, 1, _numbers(1))
        with pytest.raises(InputError, match="another version"):
            checkpoints.restore(saved, other)


def test_a_damaged_checkpoint_is_refused(tmp_path):
    with checkpoints.open_checkpoints(tmp_path) as saved:
        checkpoints.save(saved, 1, _numbers(1))
    for file in (tmp_path / "1").rglob("*"):
        if file.is_file():
            file.write_bytes(file.read_bytes()[: file.stat().st_size // 2])
    with (
        checkpoints.open_checkpoints(tmp_path) as saved,
        pytest.raises(InputError, match="damaged"),
    ):
        checkpoints.restore(saved, _numbers(0))


def test_whatever_is_damaged_is_one_line(tmp_path):
    """Each file of a checkpoint, in each way: it is read as it was, or refused."""
    with checkpoints.open_checkpoints(tmp_path / "whole") as saved:
        checkpoints.save(saved, 1, _numbers(1))
    files = [path for path in (tmp_path / "whole" / "1").rglob("*") if path.is_file()]
    damages = (
        lambda path: path.unlink(),
        lambda path: path.write_bytes(b""),
        lambda path: path.write_bytes(path.read_bytes()[: path.stat().st_size // 2]),
        lambda path: path.write_bytes(b"{}"),
        lambda path: path.write_bytes(b"\x00" * path.stat().st_size),
    )
    refused = 0
    for number, (file, damage) in enumerate(itertools.product(files, damages)):
        copy = shutil.copytree(tmp_path / "whole", tmp_path / str(number))
        damage(copy / file.relative_to(tmp_path / "whole"))
        with checkpoints.open_checkpoints(copy) as saved:
            try:
                _assert_latest(saved, 1, _numbers(1))
            except InputError as error:
                refused += 1
                assert "\n" not in str(error)
    assert refused > len(files)


def test_a_checkpoint_says_its_form(tmp_path, monkeypatch):
    with checkpoints.open_checkpoints(tmp_path) as saved:
        monkeypatch.setattr(checkpoints, "FORM", 2)
        checkpoints.save(saved, 1, _numbers(1))
        monkeypatch.undo()
        with pytest.raises(InputError, match="written by another version"):
            checkpoints.restore(saved, _numbers(0))


KILLED = """
import os, pathlib, signal, sys
import jax.numpy as jnp
from al_jax.files import checkpoints

saved = checkpoints.open_checkpoints(sys.argv[1])
checkpoints.save(saved, 1, {"a": jnp.full((2, 3), 1.0), "b": jnp.int16(1)})

def die(*_, **__):  # just before the finished checkpoint would get its name
    os.kill(os.getpid(), signal.SIGKILL)

os.rename = os.replace = pathlib.Path.rename = pathlib.Path.replace = die
checkpoints.save(saved, 2, {"a": jnp.full((2, 3), 2.0), "b": jnp.int16(2)})
"""


def test_a_killed_writer_leaves_the_checkpoint_before(tmp_path):
    package = str(pathlib.Path(checkpoints.__file__).parents[1])
    environment = {**os.environ, "PYTHONPATH": package, "JAX_PLATFORMS": "cpu"}
    command = [sys.executable, "-c", KILLED, str(tmp_path)]
    killed = subprocess.run(command, env=environment, capture_output=True, timeout=120)
    assert killed.returncode == -signal.SIGKILL, killed.stderr.decode()
    left = sorted(p.name for p in tmp_path.iterdir())
    assert len(left) == 2 and "1" in left and "2" not in left  # step 2 under a temporary name
    with checkpoints.open_checkpoints(tmp_path) as saved:
        _assert_latest(saved, 1, _numbers(1))
        checkpoints.save(saved, 2, _numbers(2))
        _assert_latest(saved, 2, _numbers(2))
    assert sorted(p.name for p in tmp_path.iterdir()) == ["1", "2"]  # and nothing is left over


@pytest.mark.parametrize("target", [None, "nothing"])
def test_a_place_that_is_no_folder_is_named(tmp_path, target):
    place = tmp_path / "network"
    place.symlink_to(target) if target else place.touch()
    with pytest.raises(InputError, match="network: is no folder; move it away"):
        checkpoints.open_checkpoints(place)


def test_orbax_says_nothing_of_what_is_reported(tmp_path, capsys, caplog):
    with checkpoints.open_checkpoints(tmp_path / "saved") as saved:
        shutil.rmtree(tmp_path / "saved")
        (tmp_path / "saved").touch()
        with pytest.raises(InputError, match=r"saved: a checkpoint cannot be written .* repair it"):
            checkpoints.save(saved, 1, _numbers(1))
    assert capsys.readouterr().err == "" and not caplog.records
    logging.error("of others, stays")
    assert [record.message for record in caplog.records] == ["of others, stays"]
