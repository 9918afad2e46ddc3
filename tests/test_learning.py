"""How well the network draws by itself: the states that are compared, the presets, the command."""

import dataclasses

import jax
import numpy as np
import pytest
import tiny
from absl import flags
from absl.testing import flagsaver
from commands import caller, flags_of

from al_jax.commands.config_flags import read_config
from al_jax.files.stacks import write_stack
from al_jax.learner.config import Config, preset
from al_jax.simulation.prepare import prepare
from experiments.bench import learning

FLAGS = flags.FLAGS


@pytest.fixture(scope="module", autouse=True)
def own_flags():
    with flags_of(learning):
        yield


def test_what_is_small_is_labelled_on_every_so_many_sections():
    stack = tiny.stack()
    _, task, state = prepare(jax.random.key(0), stack, Config())
    further = learning.labelled_further(state, stack, task, large=2, every=2)
    # The innermost disc, and the one around it or the background, have the shortest outlines.
    added = np.asarray(further.annotated & ~state.annotated)
    assert not added[::2].any()
    small = np.flatnonzero((further.annotated[1::2] == task.present[1::2]).all(0))
    assert len(small) == 2 and 3 in small
    assert set(np.flatnonzero(added.any(0))) <= set(small)


def test_the_papers_preset_counts_epochs():
    paper = preset("paper", 24)
    assert (paper.training.initial_steps, paper.training.query_steps) == (9000, 30)
    assert preset("paper", 25).training.query_steps == 40
    assert paper.training.optimiser == "sgd" and paper.training.balanced == 0
    assert preset("default", 24) == preset("default", 5000) == Config()
    with pytest.raises(ValueError, match="preset 'quick' is not one of default, paper"):
        preset("quick", 24)


def test_flags_change_a_preset():
    with flagsaver.flagsaver():
        FLAGS(["simulate"])
        assert read_config("plain", 24) == Config()
        FLAGS(["simulate", "--preset=paper", "--crop=64", "--alpha=0.25", "--field=paper"])
        paper = preset("paper", 9)
        training = dataclasses.replace(
            paper.training,
            crop=64,
            convention="caffe",
            augmentation=dataclasses.replace(paper.training.augmentation, field="paper"),
        )
        query = dataclasses.replace(paper.query, alpha=0.25)
        expected = dataclasses.replace(paper, training=training, query=query)
        assert read_config("caffe", 9) == expected


@pytest.mark.slow
def test_the_command(tmp_path, monkeypatch, capsys):
    write_stack(tmp_path / "stack.npz", tiny.stack())
    call = caller(learning, monkeypatch, capsys)
    folder = tmp_path / "learning"
    paths = f"--stack={tmp_path / 'stack.npz'}", f"--workdir={folder}"
    quick = "--network=pixelwise", "--initial_steps=250", "--query_steps=1", "--crop=32"
    status, out, err = call(*paths, *quick, "--look=200", "--target_dice=0.9")
    assert status == 0, err
    assert out.splitlines()[-1].startswith(str(folder / "proposals.png"))
    assert (folder / "proposals.png").stat().st_size > 10_000
    rows = [line.split() for line in out.splitlines()[1:-2]]
    *looks, end = [row[:2] for row in rows]
    assert looks == [[s, n] for s in ("start", "third") for n in ("200", "250")]
    # As many queries as steps: the network is asked again after each.
    assert end[0] == "end" and 250 < int(end[1]) < 275
    for row in rows:
        dice = [float(value) for value in row[5::2]]
        assert row[4::2] == ["background", "outer", "middle", "inner"]
        assert abs(np.mean(dice[1:]) - float(row[3])) < 0.01 and 0 < float(row[3]) < 1
    seconds = [float(row[2]) for row in rows[:-1]]
    assert 0 <= seconds[0] <= seconds[1]
