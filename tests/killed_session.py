"""Processes that work on a session until they are killed; they say what is stored.

`work` uses Python's calls: each line of its file is the number of events, and a digest of what they
say. `commands` runs one command after the other, as a shell does: its file has what they print.
"""

import contextlib
import hashlib
import os
import pathlib
import random
import sys

import jax
import tiny_session as ts
from absl.testing import flagsaver

from al_jax import session as sessions
from al_jax.commands import annotate, command
from al_jax.exchange.export import export_stack
from al_jax.session import network, trainer
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


def share_programs(folder: pathlib.Path) -> None:
    """Each process compiles what the one before it did."""
    jax.config.update("jax_compilation_cache_dir", str(folder.with_suffix(".cache")))
    jax.config.update("jax_persistent_cache_min_compile_time_secs", 0)


STORING = ("skip", "absent", "ingest", "undo", "range")
"""Commands that add an event to the ledger."""


def commands(folder: pathlib.Path, said: pathlib.Path, seed: int, training: bool) -> None:
    """Runs commands on a session without end; `training` begins the long training and stays in it.

    Each is announced by a line that begins with `>`; a line behind it is what it prints.
    """
    share_programs(folder)
    file = os.open(said, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    os.dup2(file, 1)
    os.dup2(os.open(os.devnull, os.O_WRONLY), 2)
    sys.stdout = os.fdopen(1, "w")
    annotate.define_flags()
    draw, count = random.Random(seed), 0

    def run(*given):
        os.write(file, f"> {given[0]}\n".encode())
        sys.argv = ["annotate", *given, f"--workdir={folder}"]
        with flagsaver.flagsaver(), contextlib.suppress(SystemExit):
            command.run(annotate.main, annotate.COMMANDS)

    if training:
        network.SECONDS = 0.0  # a checkpoint after each piece
        step = trainer.Trainer.step

        def told(*given):
            os.write(file, b"> a piece\n")
            return step(*given)

        trainer.Trainer.step = told
    while True:
        pair = (f"--section={draw.randrange(6)}", f"--structure={draw.choice(ts.IMAGES.names)}")
        word = draw.choices(STORING, (4, 3, 2, 3, 1))[0]
        if training:
            word = draw.choice(("skip", "undo")) if count < draw.randrange(3) else "train"
        count += 1
        if word == "ingest":
            run("suggest", *pair)
            run("ingest", "--truth")
        elif word == "range":
            run("range", pair[1], "--first=", "--last=")
        else:
            run(word, *(() if word in ("undo", "train") else pair))


def work(folder: pathlib.Path, said: pathlib.Path, quick: bool) -> None:
    """Answers, corrects, takes back, trains, keeps checkpoints and exports, without end."""
    share_programs(folder)
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
