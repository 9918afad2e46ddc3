"""A person at work on a stack: the questions, the answers, and a network that learns behind them.

A session is a folder: images, classes and settings (`folder`), what was said (`ledger`), and a
network that can be trained again at any time (`updates`). README.md in this folder says more.
"""

from al_jax.session.folder import Settings, create, true_mask
from al_jax.session.ledger import Event
from al_jax.session.loop import (
    HOW,
    Question,
    Session,
    Stored,
    behind,
    next_question,
    note,
    open_session,
    replay,
    save_network,
    set_range,
    skip,
    store_absent,
    store_answer,
    train_step,
    undo,
    warm_up,
    withdraw,
)
from al_jax.session.updates import Trained

__all__ = [
    "HOW",
    "Event",
    "Question",
    "Session",
    "Settings",
    "Stored",
    "Trained",
    "behind",
    "create",
    "next_question",
    "note",
    "open_session",
    "replay",
    "save_network",
    "set_range",
    "skip",
    "store_absent",
    "store_answer",
    "train_step",
    "true_mask",
    "undo",
    "warm_up",
    "withdraw",
]
