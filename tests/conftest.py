"""Where the tests find the scans that are not shipped."""

import os
import pathlib

import pytest


@pytest.fixture(scope="session")
def shared() -> pathlib.Path:
    """The folder that holds data/: AL_JAX_DATA, or `shared` beside the repository."""
    beside = pathlib.Path(__file__).resolve().parents[2] / "shared"
    folder = pathlib.Path(os.environ.get("AL_JAX_DATA", beside))
    if not (folder / "data").is_dir():
        pytest.skip(f"no scans at {folder}: set AL_JAX_DATA to the folder that holds data/")
    return folder
