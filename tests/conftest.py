"""Where the tests find the scans that are not shipped, and what they leave behind."""

import atexit
import functools
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

import jax
import pytest
import tiny

from al_jax.learner import config
from al_jax.model.networks import NETWORKS
from al_jax.session import storage

NETWORKS["pixelwise"] = tiny.Pixelwise


@pytest.fixture(scope="session")
def shared() -> pathlib.Path:
    """The folder that holds data/: AL_JAX_DATA, or `shared` beside the repository."""
    beside = pathlib.Path(__file__).resolve().parents[2] / "shared"
    folder = pathlib.Path(os.environ.get("AL_JAX_DATA", beside))
    if not (folder / "data").is_dir():
        pytest.skip(f"no scans at {folder}: set AL_JAX_DATA to the folder that holds data/")
    return folder


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
def digested_once():
    """Sources are not read again for each of many openings of sessions."""
    with pytest.MonkeyPatch.context() as patch:
        for module in (storage, config):
            patch.setattr(module, "source_digest", functools.cache(module.source_digest))
        yield
