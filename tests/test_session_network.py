"""Checkpoints of a session: of older versions, of another ledger, damaged, never a traceback."""

import dataclasses

import jax
import numpy as np
import pytest
import small_session as ss
import tiny

from al_jax.files import checkpoints
from al_jax.session import Session, Settings, network, question, storage, trainer, trials
from al_jax.session.network import Checkpoints, Network

CONFIG = tiny.config(initial_steps=8, query_steps=2, crop=16, batch=2)


@pytest.fixture
def place(tmp_path):
    storage.create(tmp_path / "s", ss.IMAGES, ss.RANGES, Settings(0, CONFIG))
    return tmp_path / "s"


def trained(session: Session, **changes) -> Network:
    """A network that says it has learnt, without what that takes."""
    shapes = jax.eval_shape(session._trainer._new_learner)
    learner = jax.tree.map(lambda leaf: np.full(leaf.shape, 0.5, leaf.dtype), shapes)
    found = Network(learner, 8, True, 3, False, 2, trials.untried(3))
    return found._replace(**changes)


def write(place, *tree) -> None:
    saved = checkpoints.open_checkpoints(place / network.NETWORK)
    checkpoints.save(saved, 1, tree)
    saved.close()


def test_a_ledger_from_an_older_copy_is_learnt_from(place):
    """The network has seen three events, of which one is left: the next one is new to it."""
    session = ss.opened(place)
    session.store_absent(0, 1)
    Checkpoints(place, ss.IMAGES).save(trained(session), always=True)
    session = ss.opened(place)
    assert session.notices == [] and session.network.through == 1 and session.behind() == 0
    session.store_absent(1, 1)
    assert session.behind() == 1


def test_a_checkpoint_of_three_counts_is_read(place):
    """Of before sections were downsampled as suits what is traced."""
    learner = trained(ss.opened(place)).learner
    write(place, learner, np.array([8, 1, 0]))
    session = ss.opened(place)
    assert session.notices == [] and session.network.trained
    assert (session.network.steps, session.network.downsampling) == (8, 1)
    jax.tree.map(np.testing.assert_array_equal, session.network.learner, learner)
    # Of longer sections than 400 pixels it saw something else.
    long = dataclasses.replace(ss.IMAGES, images=None, inside=np.zeros((3, 8, 401), bool))
    nothing = trained(session, learner=None, trained=False, through=0)
    found, said = Checkpoints(place, long).latest(nothing, [learner], [], held=False)
    assert found == nothing and len(said) == 1 and "learns again" in said[0]


def test_a_checkpoint_of_before_proposals_counted_is_read(place):
    learner = trained(ss.opened(place)).learner
    assert learner.proposed is not None
    write(place, learner.replace(proposed=None), np.array([8, 1, 0, 2]))
    session = ss.opened(place)
    assert session.notices == [] and session.network.trained
    found = session.network.learner
    assert np.isnan(found.proposed).all() and found.proposed.shape == learner.proposed.shape
    kept = (found.replace(proposed=None), learner.replace(proposed=None))
    jax.tree.map(np.testing.assert_array_equal, *kept)


def test_what_a_network_shows_has_one_form(place):
    """Without one, before it proposes and after: a question's program is compiled once."""
    session = ss.opened(place)
    network = trained(session)
    silent = network._replace(learner=network.learner.replace(proposed=None))
    forms = [
        [(one.shape, one.dtype) for one in question._known(of, session.annotations.state)]
        for of in (network._replace(learner=None), silent, network)
    ]
    assert forms[0] == forms[1] == forms[2]


OTHERS = {
    "two counts": lambda learner, counts, rows: (learner, counts[:2], rows),
    "more counts": lambda learner, counts, rows: (learner, np.append(counts, [1, 1]), rows),
    "no pixel left": lambda learner, counts, rows: (learner, counts * [1, 1, 1, 0], rows),
    "other sections": lambda learner, counts, rows: (
        learner.replace(fit=np.zeros((4, 3), np.float32)),
        counts,
        rows,
    ),
    "other classes": lambda learner, counts, rows: (learner, counts, rows[:2]),
    "no learner": lambda learner, counts, rows: (counts, rows),
    "something else": lambda learner, counts, rows: {"a": rows},
}


@pytest.mark.parametrize("how", OTHERS)
def test_a_checkpoint_that_does_not_fit_is_trained_again(place, how):
    whole = trained(ss.opened(place))
    rows = trials.to_array(whole.trials)
    write(place, *_listed(OTHERS[how](whole.learner, np.array([8, 1, 0, 2]), rows)))
    session = ss.opened(place)
    (said,) = session.notices
    assert "network/1: " in said and "learns again" in said and "\n" not in said
    assert session.network.learner is None and not session.network.trained
    assert ss.opened(place).notices == []  # it was removed


def _listed(tree) -> tuple:
    return tree if isinstance(tree, tuple) else (tree,)


def test_folders_beside_checkpoints_are_none(place):
    """What a synchroniser or a person leaves there."""
    Checkpoints(place, ss.IMAGES).save(trained(ss.opened(place)), always=True)
    (place / network.NETWORK / "1 (conflicted copy)").mkdir()
    (place / network.NETWORK / "desktop.ini").touch()
    assert ss.opened(place).network.trained


def test_how_sections_are_downsampled_is_settled_when_the_training_begins(place, monkeypatch):
    """Between two pieces of it nothing changes, whatever is traced meanwhile."""
    monkeypatch.setattr(trainer, "_suited_downsampling", lambda now: 4)
    session = ss.opened(place)
    own, now = session._trainer, session.annotations
    for steps, expected in ((0, 4), (4, 2), (8, 2)):
        of = trained(session, steps=steps, trained=steps == 8, downsampling=2)
        assert own._inputs(of, now)[1].downsampling == expected


@pytest.mark.parametrize("pieces", [2, 4, 99])
def test_large_images_are_read_in_pieces(pieces, monkeypatch):
    whole = trainer._sections(ss.IMAGES, 2)
    monkeypatch.setattr(trainer, "READ_AT_ONCE", ss.IMAGES.images.nbytes // pieces + 1)
    jax.tree.map(np.testing.assert_array_equal, trainer._sections(ss.IMAGES, 2), whole)
