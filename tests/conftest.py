"""Where the tests find the scans that are not shipped, and what they leave behind."""

import atexit
import gc
import os
import pathlib
import shutil
import tempfile
from collections.abc import Iterator

# All processes of a run share what they compile. Before the first import of jax, which reads it.
if "JAX_COMPILATION_CACHE_DIR" not in os.environ:
    os.environ["JAX_COMPILATION_CACHE_DIR"] = CACHE = tempfile.mkdtemp(prefix="al_jax_tests_")
    os.environ["JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS"] = "0.1"
    atexit.register(shutil.rmtree, CACHE, ignore_errors=True)

import hands
import jax
import numpy as np
import pytest
import tiny

from al_jax.model.networks import NETWORKS
from al_jax.session import trainer

NETWORKS["pixelwise"] = tiny.Pixelwise
# Tracing makes many objects and leaves few: it is a sixth faster if they are seldom looked through.
gc.freeze()
gc.set_threshold(100_000, 50, 1000)
# Compilation is most of the time of the tests: a third of it so, and arrays of theirs are small.
QUICK = "--xla_backend_optimization_level=0 --xla_cpu_use_fusion_emitters=false"


def pytest_configure(config: pytest.Config) -> None:
    """All but the slow tests, and the commands that they run, compile without optimisation.

    Before the first computation, which reads the variable; what it holds already goes before.
    """
    given = os.environ.get("XLA_FLAGS", "")
    if config.option.markexpr == "not slow" and QUICK not in given:
        os.environ["XLA_FLAGS"] = f"{QUICK} {given}".strip()


# One process has all tests of a file, and files begin in this order: those that take longest first,
# so that no process is left with one of them at the end.
LONGEST = ["simulate", "loop", "window", "sweep", "session_loop", "clusters", "plugins", "learner"]
LONGEST += ["transfer", "annotate", "command", "training", "session_changes", "window_controller"]
LONGEST += ["strategies", "neighbours", "readme", "report", "devices", "annotate_files", "run"]


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Sorts tests by their files."""
    place = {f"test_{name}": number for number, name in enumerate(LONGEST)}
    items.sort(key=lambda item: place.get(item.path.stem, len(place)))


@pytest.fixture(scope="session")
def shared() -> pathlib.Path:
    """The folder that holds data/: AL_JAX_DATA, or `shared` beside the repository."""
    beside = pathlib.Path(__file__).resolve().parents[2] / "shared"
    folder = pathlib.Path(os.environ.get("AL_JAX_DATA", beside))
    if not (folder / "data").is_dir():
        pytest.skip(f"no scans at {folder}: set AL_JAX_DATA to the folder that holds data/")
    return folder


@pytest.fixture(scope="session")
def display() -> Iterator[str]:
    """One for all modules: the application of Qt, one a process, dies with its display."""
    yield from hands.display()


@pytest.fixture(scope="module", autouse=True)
def _programs_are_forgotten() -> Iterator[None]:
    """Compiled programs of a module go with it.

    Each is some maps of memory, of which Linux gives a process 65,530: one that runs half of all
    tests would come to more, and be aborted.
    """
    yield
    jax.clear_caches()
    gc.collect()


@pytest.fixture(scope="module")
def programs_once() -> Iterator[dict]:
    """Sessions of the same settings share what they compile, as tests open many; all of it."""
    compiled: dict = {}
    compile_program = trainer.Trainer._program

    def program(self: trainer.Trainer, name: str, *arguments):
        leaves, structure = jax.tree.flatten(arguments)
        shapes = tuple((np.shape(leaf), jax.numpy.result_type(leaf)) for leaf in leaves)
        key = np.asarray(jax.random.key_data(self._keys.training)).tobytes()
        known = None if self._prior is None else np.asarray(self._prior.dice).tobytes()
        settings = (self._config, self._strategy, self._steps, key, known)
        identity = (name, structure, shapes, settings)
        if identity not in compiled:
            self._programs.pop(name, None)
            compiled[identity] = compile_program(self, name, *arguments)
        return compiled[identity]

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(trainer.Trainer, "_program", program)
        yield compiled
