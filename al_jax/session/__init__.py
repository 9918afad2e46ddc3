"""A person at work on a stack: the questions, the answers, and a network that learns behind them.

A session is a folder: images, classes and settings (`folder`), what was said (`ledger`), and a
network that can be trained again at any time (`updates`). README.md in this folder says more.
"""

from al_jax.session.ledger import Event
from al_jax.session.progress import Progress, answered, progress
from al_jax.session.session import (
    HOW,
    Question,
    Session,
    Stored,
    behind,
    next_question,
    note,
    open_session,
    read_session,
    replay,
    save_network,
    segment_section,
    set_range,
    skip,
    store_absent,
    store_answer,
    take_over,
    traced,
    train_step,
    undo,
    warm_up,
    withdraw,
)
from al_jax.session.storage import Settings, create, true_mask
from al_jax.session.taught import taught
from al_jax.session.trainer import Trained

__all__ = [
    "HOW",
    "Event",
    "Progress",
    "Question",
    "Session",
    "Settings",
    "Stored",
    "Trained",
    "answered",
    "behind",
    "create",
    "next_question",
    "note",
    "open_session",
    "progress",
    "read_session",
    "replay",
    "save_network",
    "segment_section",
    "set_range",
    "skip",
    "store_absent",
    "store_answer",
    "take_over",
    "taught",
    "traced",
    "train_step",
    "true_mask",
    "undo",
    "warm_up",
    "withdraw",
]
