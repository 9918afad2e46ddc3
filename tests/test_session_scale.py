"""The benchmark of a session at scale, on a small one; and what a session holds of a large one."""

import numpy as np
import pytest
import tiny_session as ts

from al_jax import session as sessions
from al_jax.session.annotations import Annotations
from experiments.bench import session_scale


@pytest.mark.slow
def test_every_part_is_measured(tmp_path, monkeypatch):
    monkeypatch.setattr(session_scale, "ANSWERS", 3)
    session_scale.make(tmp_path / "s", (8, 32, 40, 5), ts.CONFIG)
    found = session_scale.work(tmp_path / "s") | session_scale.reopen(tmp_path / "s")
    assert set(session_scale.LIMITS) <= found.keys()
    assert all(value > 0 for value in found.values())
    assert found["answers replayed"] == 4 + 1 + 2 * 3  # structures, background, and the timed ones


def test_a_session_holds_labels_of_answered_sections_alone(tmp_path):
    with sessions.open_session(ts.create(tmp_path / "s")) as session:
        ts.answer(session, 2, 1)
        now = session.annotations
        assert isinstance(now, Annotations) and set(now.labels) == {2}
        arrays = [np.asarray(leaf) for name, leaf in vars(now.state).items() if name != "key"]
        assert sum(array.nbytes for array in arrays) < ts.IMAGES.inside.nbytes
        assert isinstance(session.images.images, np.memmap)
        assert isinstance(session.images.inside, np.memmap)
