"""A session folder as it was written once: every later version opens it, with the same answers.

`tests/session_form_1` was written by `make` of its day and `tests/session_form_1_changed` by
`make_changed`; they are never written again, and nothing that they say may be lost. A later form
gets a folder of its own beside them.
"""

import pathlib
import shutil

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest
import small_session as ss

from al_jax import session as sessions
from al_jax.exchange.classes import make_classes
from al_jax.exchange.questions import Origin, digest_of_events, read_manifest, write_question
from al_jax.learner.config import Config, changed
from al_jax.model.networks import NETWORKS
from al_jax.session import Session, Settings, ledger, storage

FIRST = pathlib.Path(__file__).with_name("session_form_1")


class Dense(nn.Module):
    """The network of the folder; never changed, as its source is known by a digest."""

    num_classes: int
    class_layers = ("score",)

    def setup(self):
        """Hidden and output layer."""
        self.hidden = nn.Dense(4)
        self.score = nn.Dense(self.num_classes)

    def encode(self, x):
        """[B, H, W, 3] -> one hidden layer."""
        return (nn.relu(self.hidden(x)),)

    def decode(self, pools, size, key=None, *, downsampling=1):
        """Logits [B, H, W, C]."""
        x = jnp.repeat(jnp.repeat(pools[-1], downsampling, 1), downsampling, 2)
        return self.score(x[:, : size[0], : size[1]])

    def __call__(self, x, key=None):
        """[B, H, W, 3] -> logits."""
        return self.decode(self.encode(x), x.shape[1:3], key)


NETWORKS["session_form_1"] = Dense

EMPTY = "........"
LABELS = [
    ["11111111"] * 2 + [EMPTY] * 6,
    [EMPTY] * 2 + [".111...."] * 3 + [".2......"] * 3,
    [EMPTY] * 8,
]
"""What is annotated: the class, or a point."""


def make(folder: pathlib.Path) -> None:
    """Each kind of event, a correction, two undone, a network that has learnt."""
    few = {"initial_steps": 2, "query_steps": 1, "crop": 16, "batch": 1}
    config = changed(Config(network=Dense), few)
    storage.create(folder, ss.IMAGES, ss.RANGES, Settings(3, config))
    top = np.arange(8)[:, None] + np.zeros(8, int) < 2
    with sessions.open_session(folder) as session:
        session.store_answer(0, 1, top)
        session.store_answer(1, 1, ss.square(2))
        session.store_answer(1, 2, ss.square(5))
        session.store_absent(0, 2)
        session.store_answer(1, 2, ss.square(5) & (np.arange(8) < 2))  # corrects
        session.store_absent(2, 1)
        session.undo()
        session.store_answer(2, 2, ss.square(0))
        session.undo()
        session.skip(2, 0, "torn")
        session.set_range(2, (0, 1))
        session.note("Größe: 3 µm")
        session.skip(1, 0)
        session.store_answer(0, 0, ~top)
        session.withdraw(14)
        while session.train_step():
            pass


def make_changed(folder: pathlib.Path) -> None:
    """On the first folder, each kind of change, answers after them, and a question."""
    shutil.copytree(FIRST, folder)
    with sessions.open_session(folder) as session:
        session.rename_class(1, "A")
        session.add_class("c", (1, 2), (1, 2, 3))
        session.split_class(2, ["b", "d"])
        session.store_answer(1, 2, ss.square(5))
        session.merge_classes([2, 3], "b")
        session.leave_out(0)
        session.take_in("0")
        session.mirror(0)
        session.turn(0, 90)
        session.replace_image(2, np.full((8, 8, 1), 7, np.uint8))
        session.set_order([2, 0, 1])
        session.store_answer(2, 3, ss.square(5) & (np.arange(8) > 1))
        session.turn(1, 180)
        session.undo()
        question = session.next_question(section=0, structure=1)
        classes = make_classes(session.images.names, session.images.colours)
        origin = Origin(1, len(session.events), digest_of_events(session.events), 3, (2, 3), False)
        write_question(folder / "questions" / "a", question, classes, ["png"], origin=origin)


def drawn(session: Session) -> list[list[str]]:
    """The labels as `LABELS` has them."""
    return [
        ["".join("." if c < 0 else str(c) for c in row) for row in section]
        for section in session.labels()
    ]


@pytest.mark.parametrize("held", [True, False])
def test_a_folder_of_form_1_opens(tmp_path, held):
    folder = shutil.copytree(FIRST, tmp_path / "s")
    session = ss.opened(folder) if held else sessions.read_session(folder)
    assert session.notices == [] and drawn(session) == LABELS
    state = session.annotations.state
    assert np.argwhere(state.annotated).tolist() == [[0, 1], [0, 2], [1, 1], [1, 2]]
    assert np.argwhere(session.annotations.skipped).tolist() == [[1, 0], [2, 0]]
    assert state.in_range[:, 2].tolist() == [True, True, False]
    assert [event["number"] for event in session.events] == list(range(1, 16))
    assert session.settings.seed == 3 and session.settings.config.training.initial_steps == 2
    assert session.network.trained and session.network.through == 15 and session.behind() == 0
    assert session.network.downsampling == 1
    params = session.network.learner.train.params
    assert params["hidden"]["kernel"].shape == (3, 4)
    total = sum(float(np.abs(leaf).sum()) for leaf in jax.tree.leaves(params))
    assert total == pytest.approx(TOTAL, rel=1e-6)
    if held:
        session.store_absent(2, 1)
        assert ss.opened(folder).events == session.events
        before, after = (path / ledger.LEDGER for path in (FIRST, folder))
        assert after.read_bytes().startswith(before.read_bytes())


@pytest.mark.parametrize("held", [True, False])
def test_a_changed_folder_of_form_1_opens(tmp_path, held):
    folder = shutil.copytree(FIRST.with_name("session_form_1_changed"), tmp_path / "s")
    session = ss.opened(folder) if held else sessions.read_session(folder)
    assert session.notices == [] and drawn(session) == CHANGED
    assert session.images.names == ("background", "A", "b", "c")
    assert session.images.sections == ("2", "0", "1") and session.left_out == ()
    assert session.images.colours[3] == (1, 2, 3)
    assert (session.images.images[0] == 7).all() and session.first_place(1) == (0, 3, "mr")
    assert len(session.events) == 29 and session.network.proposes
    asked = read_manifest(folder / "questions" / "a")
    assert asked.pair == "'A' on section 2" and asked.origin.first == (2, 3)
    assert asked.origin.history == digest_of_events(session.events)
    if held:
        assert session.undo()["event"] == "answer" and session.undo()["event"] == "order"
        assert ss.opened(folder).images.sections == ("0", "1", "2")


CHANGED = [
    [EMPTY] * 8,
    ["......11"] * 8,
    [EMPTY] * 2 + [".111...."] * 3 + ["..33...."] * 3,
]
"""What is annotated in the second folder."""

TOTAL = 9.462006739340723
"""Sum of the absolute weights of its network."""
