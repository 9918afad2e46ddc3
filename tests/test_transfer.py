"""What is carried over from earlier stacks: by class name, bounded, and nothing of the truth."""

import dataclasses
import functools
import json
import pathlib
import shlex
import types

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import tiny
from absl import flags
from absl.testing import flagsaver
from commands import flags_of

from al_jax.commands import config_flags, simulate
from al_jax.core import state
from al_jax.core.stack import UNLABELLED, InputError, make_images, make_stack
from al_jax.core.strategies import STRATEGIES
from al_jax.files.stacks import write_stack
from al_jax.learner import config as settings
from al_jax.learner import pretraining, transfer
from al_jax.learner.config import Config, changed, model_of
from al_jax.learner.transfer import Experience
from al_jax.model import resolution
from al_jax.model.config import ModelConfig
from al_jax.model.crops import random_batch
from al_jax.model.training import init_train_state
from al_jax.simulation import annotator, loop, runner
from al_jax.simulation.prepare import prepare
from al_jax.simulation.task import make_task
from experiments import sweep
from experiments.sweeps import grid, plan, units

FLAGS = flags.FLAGS
CONFIG = tiny.config(initial_steps=0, query_steps=2, crop=32, batch=4)
NAMES = ("background", "a", "b")
EARLIER = Experience(
    names=NAMES,
    weights={"score/kernel": np.arange(6.0).reshape(2, 3), "score/bias": np.array([1.0, 2.0, 3.0])},
    network="pixelwise",
    convention="plain",
    downsampling=1,
    class_layers=("score",),
    # Outlines of 20, 10 and 8 px on ten sections, one and none; a and b share 2 px on two.
    lengths=np.array(
        [
            [[200.0, 0, 0], [0, 10, 4], [0, 4, 0]],
            [[10.0, 0, 0], [0, 1, 2], [0, 2, 0]],
        ],
        np.float32,
    ),
    offered=np.array([[100.0, 30, 0], [50, 3, 0]], np.float32),
    dice=np.array([0.9, 0.5, np.nan], np.float32),
)


def test_known_by_name_and_bounded():
    prior = transfer.fit_to(EARLIER, ("b", "new", "a", "background"))
    np.testing.assert_allclose(np.diagonal(prior.lengths[1]), [0, 0, 1, 3])  # at most 3 sections
    np.testing.assert_allclose(np.diagonal(prior.lengths[0]), [0, 0, 10, 60])  # the means stay
    np.testing.assert_allclose([prior.lengths[0, 0, 2], prior.lengths[1, 0, 2]], [4, 2])
    assert not prior.lengths[:, 1].any() and not prior.lengths[:, :, 1].any()
    np.testing.assert_allclose(prior.dice, [np.nan, np.nan, 0.5, 0.9], rtol=1e-6)
    # 30 px of a are one outline of 10 px, three times; 100 px of background are less than 60 px.
    np.testing.assert_allclose(prior.offered, [[0, 0, 30, 60], [0, 0, 3, 30]], rtol=1e-6)


def test_weights_by_name_and_new_classes_as_they_were():
    params = {"score": {"kernel": jnp.full((2, 3), 7.0), "bias": jnp.full(3, 7.0)}}
    found = transfer.with_experience(params, EARLIER, ("b", "new", "background"))
    np.testing.assert_allclose(found["score"]["kernel"], [[2, 7, 0], [5, 7, 3]])
    np.testing.assert_allclose(found["score"]["bias"], [3, 7, 1])


@pytest.mark.parametrize(
    "params, line",
    [
        ({"other": {"kernel": jnp.zeros((2, 3))}}, "have no 'other/kernel'"),
        ({"score": {"kernel": jnp.zeros((5, 3))}}, "has shape [2, 3], the network [5, 3]"),
    ],
)
def test_weights_of_another_network_are_refused(params, line):
    with pytest.raises(InputError) as refusal:
        transfer.with_experience(params, EARLIER, NAMES)
    assert line in str(refusal.value)


def test_a_class_without_an_outline_is_new():
    assert transfer.outlined(EARLIER) == ("background", "a")
    assert transfer.describe_experience(EARLIER, ("background", "a", "b", "c")) == (
        "begun from earlier stacks (outlines on 10 sections): classes background, a; new: b, c"
    )
    many = EARLIER._replace(names=tuple("abcdefghijklmnop"), lengths=np.ones((2, 16, 16)))
    said = transfer.describe_experience(many, many.names)
    assert said.endswith("j, k, l, 4 more; new: none") and "(outlines on 1 sections)" in said


@pytest.mark.parametrize(
    "given, steps, rate, start",
    [
        ((), 0, 3e-5, "needed"),
        (("--start=none",), 0, 3e-5, "none"),
        (("--start=central",), 810, 1e-3, "central"),
        (("--start=central", "--initial_steps=0"), 0, 1e-3, "central"),
        (("--initial_steps=90",), 90, 3e-5, "needed"),
    ],
)
def test_a_network_of_prior_stacks_is_trained_at_first_if_all_classes_have_examples(
    given, steps, rate, start
):
    with flags_of(simulate), flagsaver.flagsaver():
        FLAGS(["simulate", "--from=somewhere", *given])
        config = config_flags.read_config("plain", 24, warm=True)
        scratch = config_flags.read_config("plain", 24)
    assert scratch == Config()  # where the stack does not fit
    training = config.training
    found = (training.initial_steps, training.query_learning_rate, config.annotator.start)
    assert found == (steps, rate, start)


def test_classes_of_an_earlier_stack_are_known_however_they_are_spelt():
    earlier = EARLIER._replace(names=("background", "noyau caude\u0301", "b"))
    names = ("background", "Noyau\u00a0caud\u00e9", "c")
    np.testing.assert_allclose(transfer.fit_to(earlier, names).dice, [0.9, 0.5, np.nan], rtol=1e-6)
    said = transfer.describe_experience(earlier, names)
    assert said.endswith(f"classes background, {names[1]}; new: c")


def test_of_a_class_without_an_outline_no_dice_is_carried_over():
    """D of it says nothing, and would stand for its first proposals on the next stack."""
    counts = np.float32([[3, 1, 0], [1, 1, 0], [0, 0, 0]])
    known = types.SimpleNamespace(
        length_sum=4 * counts, length_count=counts, offered=np.ones((2, 3))
    )
    params = {"score": {"bias": jnp.ones(3)}}
    learner = types.SimpleNamespace(
        train=types.SimpleNamespace(params=params), dice=jnp.float32([[0.9, 0.0, 0.7], [1, 1, 1]])
    )
    found = transfer.experience_of(known, learner, NAMES, CONFIG, 2)
    np.testing.assert_array_equal(found.dice, np.float32([0.9, 0.0, np.nan]))
    assert found.downsampling == 2 and found.names == NAMES


def test_a_file_holds_it_all(tmp_path):
    path = tmp_path / "start.npz"
    transfer.write_experience(path, EARLIER)
    found = transfer.read_experience(path)
    jax.tree.map(np.testing.assert_array_equal, found._asdict(), EARLIER._asdict())
    first = path.read_bytes()
    transfer.write_experience(path, found)
    assert path.read_bytes() == first


def test_a_file_says_its_form(tmp_path, monkeypatch):
    path = tmp_path / "start.npz"
    monkeypatch.setattr(transfer, "FORM", 2)
    transfer.write_experience(path, EARLIER)
    monkeypatch.undo()
    with pytest.raises(InputError, match=r"start\.npz: is of a newer version"):
        transfer.read_experience(path)
    np.savez(path, **{k: v for k, v in np.load(path).items() if k != "form"})  # of before
    assert transfer.read_experience(path).names == NAMES


def test_bad_files_are_refused_by_name(tmp_path):
    np.savez(tmp_path / "other.npz", images=np.zeros(3))
    (tmp_path / "cut.npz").write_bytes(b"PK\x03\x04nothing")
    transfer.write_experience(
        tmp_path / "nan.npz", EARLIER._replace(weights={"score/bias": np.full(3, np.nan)})
    )
    transfer.write_experience(
        tmp_path / "shape.npz", EARLIER._replace(dice=np.zeros(2, np.float32))
    )
    for name, line in {
        "missing.npz": "missing.npz",
        "other.npz": "holds no experience",
        "cut.npz": "cut.npz",
        "nan.npz": "not finite",
        "shape.npz": "'dice' is damaged",
    }.items():
        with pytest.raises(InputError, match=line):
            transfer.read_experience(tmp_path / name)


def test_several_add_up_their_outlines_of_the_first_ones_classes():
    other = EARLIER._replace(
        names=("background", "b", "c"), dice=np.array([0.7, 0.4, 0.2], np.float32)
    )
    both = transfer.combine([EARLIER, other])
    assert both.names == NAMES and both.weights is EARLIER.weights
    np.testing.assert_array_equal(both.dice, EARLIER.dice)  # of the network that is carried over
    # Of b the other has an outline, and two shared with c, which is not carried over.
    np.testing.assert_allclose(both.lengths[1], [[20, 0, 0], [0, 1, 2], [0, 2, 1]])
    np.testing.assert_allclose(both.offered, [[200, 30, 30], [100, 3, 3]])


def _library():
    return pretraining.make_library([tiny.stack(1), tiny.stack(2)])


@functools.cache
def _start():
    library = _library()
    config = changed(CONFIG, {"initial_steps": 200})
    model = model_of(config, tiny.CLASSES)
    begun = init_train_state(jax.random.key(0), model, tiny.weights(model.network))
    trained, losses = jax.jit(
        lambda s: pretraining.pretrain(jax.random.key(1), s, library, config)
    )(begun)
    assert losses[-20:].mean() < losses[:20].mean()
    dice = np.full(tiny.CLASSES, 0.5, np.float32)
    return pretraining.experience_from(trained, library, dice, config)


def test_a_library_is_its_stacks_by_class_name():
    one, other = tiny.stack(1), tiny.stack(2)
    smaller = make_stack(
        other.images[:3, :36, :40],
        np.zeros((3, 36, 40), int) + (other.truth[:3, :36, :40] == 3),
        ("background", "inner"),
        other.inside[:3, :36, :40],
    )
    library = pretraining.make_library([one, smaller], 1)
    assert library.names == one.names and library.sections.images.shape == (9, 40, 48, 1)
    np.testing.assert_array_equal(library.stacks, [0] * 6 + [1] * 3)
    inner = np.asarray(library.labels.labels[6:]) == 3
    np.testing.assert_array_equal(
        inner[:, :36, :40], (other.truth[:3] == 3)[:, :36, :40] & other.inside[:3, :36, :40]
    )
    assert not library.sections.inside[6:, 36:].any() and not library.labels.seen[6:, 1].any()
    # B of the whole library is that of annotating everything.
    alone = pretraining.make_library([one], 1).lengths
    task = make_task(one, CONFIG)
    labelled = state.init_state(jax.random.key(0), one.inside, state.ranges(task.present))
    answer = jax.jit(annotator.true_answer)
    for section, structure in np.argwhere(np.asarray(task.present)):
        labelled, _ = answer(labelled, section, structure, task)
    np.testing.assert_allclose(alone[1], labelled.length_count)
    np.testing.assert_allclose(np.diagonal(alone[0]).sum() / 2, task.total, rtol=0.2)


def test_a_library_is_downsampled_stack_by_stack(monkeypatch):
    one = tiny.stack(1)
    twice = make_stack(
        *(np.kron(x, np.ones((1, 2, 2), x.dtype)) for x in (one.images[..., 0], one.truth)),
        one.names,
        np.kron(one.inside, np.ones((1, 2, 2), bool)),
    )
    # Of structures twice as wide, half is left; the outlines stay as long as they are.
    width = np.median(list(_widths(one)))
    monkeypatch.setattr(resolution, "WIDTH", width)
    library = pretraining.make_library([one, twice])
    assert library.downsampling == 1  # the median of 1 and 2, rounded down
    assert library.sections.images.shape == (12, *one.images.shape[1:])
    np.testing.assert_array_equal(library.sections.images[6:], library.sections.images[:6])
    np.testing.assert_array_equal(library.labels.labels[6:], library.labels.labels[:6])
    alone = pretraining.make_library([one], 1).lengths
    np.testing.assert_allclose(library.lengths[0], 3 * alone[0], rtol=1e-5)
    np.testing.assert_allclose(library.lengths[1], 2 * alone[1])


def _widths(stack):
    """4 A / l of the structures of a stack, what is outside the image around them."""
    labels = np.pad(
        np.where(stack.inside, stack.truth, -1), ((0, 0), (1, 1), (1, 1)), constant_values=-1
    )
    for structure in range(1, stack.num_classes):
        mask = labels == structure
        length = sum(np.diff(mask, axis=axis).sum() for axis in (1, 2))
        yield 4 * mask.sum() / length


@pytest.mark.slow
def test_stacks_count_alike_however_long_they_are():
    """Of crops about labelled pixels as many are of a stack of two sections as of one of six."""
    one = tiny.stack(1)
    short = make_stack(one.images[:2], one.truth[:2], one.names, one.inside[:2])
    library = pretraining.make_library([one, short], 1)
    setting = changed(CONFIG, {"balanced": 1.0, "batch": 400}).training

    def watch(key):
        among = library.labels
        batch = random_batch(
            key, library.sections, among, jnp.zeros(400, jnp.int32), setting, library.stacks
        )
        return batch.labels

    # The labels of the short stack are made unlike any other's: all 3.
    own = library.labels.labels.at[6:].set(3)
    library = library._replace(labels=library.labels.replace(labels=own))
    labels = np.asarray(jax.jit(watch)(jax.random.key(3)))
    seen = ((labels == 3) | (labels == UNLABELLED)).all((1, 2)).mean()
    assert 0.4 < seen < 0.6


@pytest.mark.parametrize("start, answers", [("none", 0), ("needed", 1), ("central", 4)])
def test_a_start_labels_what_is_not_known(start, answers):
    learnt = _start()
    lengths = learnt.lengths.copy()
    lengths[:, 3] = lengths[:, :, 3] = 0  # nothing is known of the last class
    stack, config = tiny.stack(), changed(CONFIG, {"start": start})
    prior = transfer.fit_to(learnt._replace(lengths=lengths), stack.names)
    prepared = prepare(jax.random.key(0), stack, config, prior=prior)
    assert int(prepared.state.annotated.sum()) == answers
    assert float(prepared.state.length_count[1, 1]) == 3 + (start == "central")


def test_nothing_of_the_truth_is_known_before_an_answer():
    """Weights, B, Dice, the proposal and the first query: the same whatever the truth is."""
    learnt = _start()
    stack, config = tiny.stack(), changed(CONFIG, {"start": "none"})
    truth = np.asarray(stack.truth)
    turned = dataclasses.replace(stack, truth=truth[:, ::-1, ::-1].copy())
    ranges_alike = [s.truth for s in (stack, turned)]
    assert not np.array_equal(*ranges_alike)
    prior = transfer.fit_to(learnt, stack.names)
    params = transfer.with_experience(
        tiny.weights(tiny.Pixelwise(tiny.CLASSES)), learnt, stack.names
    )
    found = []
    for one in (stack, turned):
        prepared = prepare(jax.random.key(0), one, config, prior=prior)
        model, strategy = model_of(config, tiny.CLASSES), STRATEGIES["KBDr"]
        network = init_train_state(prepared.keys.weights, model, params)
        run, _ = loop.begin(network, prepared.state, prepared.task, config, strategy)
        nothing = jnp.zeros(prepared.task.present.shape)
        query = loop.ask(run, nothing, prepared.task, config, strategies=(strategy,), which=0)
        found.append((prepared.state.replace(key=None), run.learner, query))
    jax.tree.map(np.testing.assert_array_equal, *found)


def test_a_run_goes_on_from_what_is_known():
    learnt = _start()
    stack, config = tiny.stack(), changed(CONFIG, {"start": "needed"})
    prior = transfer.fit_to(learnt, stack.names)
    params = transfer.with_experience(
        tiny.weights(tiny.Pixelwise(tiny.CLASSES)), learnt, stack.names
    )
    prepared = prepare(jax.random.key(0), stack, config, prior=prior)
    run = jax.jit(loop.simulate, static_argnames=("strategy", "queries"))
    last, records = run(prepared, config, queries=3, params=params)
    assert records.effort_unique[0] == 0 and records.length[0] == 0
    np.testing.assert_allclose(records.predicted_dice[1], 0.5)  # as the library says
    assert np.isfinite(records.dice).all() and int(last.state.annotated.sum()) == 3
    left = transfer.experience_of(last.state, last.learner, stack.names, config, 1)
    assert np.isfinite(left.dice).all() and left.weights.keys() == learnt.weights.keys()


def _bright(side: int) -> np.ndarray:
    image = np.zeros((24, 24), np.uint8)
    image[4 : 4 + side, 6 : 6 + side] = 200
    return image


@pytest.mark.parametrize(
    "length, in_range, expected",
    [
        (20, [1, 1, 1, 1], 1.0),  # ratios 1, 1, 1/2, 1
        (40, [1, 1, 1, 1], 0.625),  # 1/2, 1/2, 1, 1/2
        (40, [1, 1, 0, 1], 0.5),  # the longer one is out of range
        (40, [0, 0, 1, 0], 1.0),
        (40, [0, 0, 0, 0], 0.0),
        (0, [1, 1, 1, 1], 0.0),  # no outline of it is known
    ],
)
def test_agreement_is_that_of_outlines_drawn_with_outlines_known(length, in_range, expected):
    """The network takes for `a` what is bright: squares of sides 5, 5, 10 and 5 px."""
    names = ("background", "a")
    sections = np.stack([_bright(side) for side in (5, 5, 10, 5)])
    images = make_images(sections, names)
    counts = np.full((2, 2), float(length > 0), np.float32)
    lengths = np.stack([np.float32([[90, length], [length, length]]), counts])
    kernel = np.zeros((3, 8), np.float32)
    kernel[0, 0] = 1.0
    score = np.zeros((8, 2), np.float32)
    score[0, 1] = 9.0
    learnt = Experience(
        names=names,
        weights={
            "hidden/kernel": kernel,
            "hidden/bias": np.zeros(8, np.float32),
            "score/kernel": score,
            "score/bias": np.float32([1, 0]),
        },
        network="pixelwise",
        convention="plain",
        downsampling=1,
        class_layers=("score",),
        lengths=lengths,
        offered=np.zeros((2, 2), np.float32),
        dice=np.float32([1, 1]),
    )
    may = np.ones((4, 2), bool)
    may[:, 1] = in_range
    found = transfer.agreement(learnt, images, may, ModelConfig(tiny.Pixelwise(2)))
    np.testing.assert_allclose(found, expected, rtol=1e-6)
    renamed = learnt._replace(names=("background", "b"))
    assert transfer.agreement(renamed, images, may, ModelConfig(tiny.Pixelwise(2))) == 0


@pytest.mark.slow
@pytest.mark.parametrize("fits", [True, False])
def test_a_sweep_carries_over_to_each_stack_its_own(tmp_path, monkeypatch, fits):
    """`{stack}` is its name; a run begins without training, where it was left, if that fits."""
    monkeypatch.setattr(transfer, "AGREES", 0.0 if fits else 1.1)
    monkeypatch.setattr(settings, "DEFAULT", tiny.config(initial_steps=2))
    for name in ("one", "three"):
        write_stack(tmp_path / f"{name}.npz", tiny.stack(len(name)))
        learnt = _start()._replace(dice=np.full(4, 0.1 * len(name), np.float32))
        transfer.write_experience(tmp_path / f"from_{name}.npz", learnt)
    with flags_of(sweep):
        grids = grid.read_grids(
            None,
            {
                "stack": [str(tmp_path / f"{name}.npz") for name in ("one", "three")],
                "from": [str(tmp_path / "from_{stack}.npz")],
                "strategies": ["BDa"],
                "crop": ["32"],
                "query_steps": ["1"],
                "target_dice": ["0.3"],
            },
        )
        workdir = tmp_path / "out"
        workdir.mkdir()
        planned = plan.plan(workdir, grids)
    assert [run.network.earlier[0].rsplit("_")[-1] for run in planned] == ["one.npz", "three.npz"]
    assert len({run.folder for run in planned} | {run.network.folder for run in planned}) == 4
    for run in planned:
        units.perform(run, 10.0, runner.silent)
        assert run.done and run.network.done
        rows = (pathlib.Path(run.folder) / "queries.csv").read_text().splitlines()
        first = dict(zip(rows[0].split(","), rows[1].split(","), strict=True))
        result = json.loads((pathlib.Path(run.folder) / "result.json").read_text())
        assert result["configuration"]["annotator"]["start"] == "needed"
        if fits:
            assert float(first["effort_percent"]) == 0 and "misfit" not in result
        else:
            assert float(first["effort_percent"]) > 0
            assert "--from is of another kind of stack" in result["misfit"]
    assert "--from=" in shlex.join(planned[0].arguments)
