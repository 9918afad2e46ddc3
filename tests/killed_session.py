"""A process that works on a session until it is killed; it says what is stored, and what that is.

Each line that it writes to its file is the number of events, and a digest of what they say.
"""

import hashlib
import os
import pathlib

import jax
import tiny_session as ts

from al_jax import session as sessions
from al_jax.exchange.export import export_stack
from al_jax.session.results import Export


def digest(session: sessions.Session) -> str:
    """Names what a session's events say."""
    now, total = session.annotations, hashlib.sha256()
    state = now.state
    for array in (state.annotated, state.seen, state.in_range, state.unlabelled, state.length_sum):
        total.update(array.tobytes())
    for section in sorted(now.labels):
        total.update(now.labels[section].tobytes())
    total.update(now.skipped.tobytes())
    return total.hexdigest()[:16]


def work(folder: pathlib.Path, said: pathlib.Path, quick: bool) -> None:
    """Answers, corrects, takes back, trains, keeps checkpoints and exports, without end."""
    # Each process compiles what the one before it did.
    jax.config.update("jax_compilation_cache_dir", str(folder.with_suffix(".cache")))
    jax.config.update("jax_persistent_cache_min_compile_time_secs", 0)
    file = os.open(said, os.O_WRONLY | os.O_CREAT | os.O_APPEND)

    def say(session: sessions.Session) -> None:
        os.write(file, f"{len(session.events)} {digest(session)}\n".encode())

    with sessions.open_session(folder) as session:
        say(session)
        while (question := session.next_question(propose=not quick)) is not None:
            ts.answer(session, question.section, question.structure, question=question)
            say(session)
            number = len(session.events)
            if number % 5 == 0:
                session.undo()
                say(session)
            if not quick:
                session.train_step()
                session.save_network()
            images = session.images
            export = Export(traced=session.labels(), names=images.names, sections=images.sections)
            export_stack(folder / "export", export, ["png"])
