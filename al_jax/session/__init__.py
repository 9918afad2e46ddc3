"""A person at work on a stack: the questions, the answers, and a network that learns behind them.

A session is a folder: images, classes and settings (`storage`), events (`events`, `ledger`), and a
network that can be trained again at any time (`trainer`). README.md in this folder says more.
Without a folder, `begin` and `replay` replay events with masks in memory.
"""

from al_jax.session.annotations import Annotations, begin
from al_jax.session.events import Event, apply, effective, replay
from al_jax.session.progress import Progress
from al_jax.session.question import Question
from al_jax.session.session import Session, open_session, read_session
from al_jax.session.storage import Settings, create, true_mask
from al_jax.session.store import HOW, Stored
from al_jax.session.trainer import Trained

__all__ = [
    "HOW",
    "Annotations",
    "Event",
    "Progress",
    "Question",
    "Session",
    "Settings",
    "Stored",
    "Trained",
    "apply",
    "begin",
    "create",
    "effective",
    "open_session",
    "read_session",
    "replay",
    "true_mask",
]
