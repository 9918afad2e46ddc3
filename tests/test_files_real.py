"""Files of other projects' test suites: whatever is in them, a reader returns or says one line.

Their source packages hold more than a thousand. They are not kept here; to run this:

    for name in pillow tifffile nibabel imageio; do
        pip download --no-deps --no-binary $name $name -d files
    done
    for package in files/*.tar.gz; do tar xzf $package -C files; done
    AL_JAX_FILES=files python -m pytest -n0 tests/test_files_real.py
"""

import os
import pathlib
import warnings
from collections import Counter

import pytest

from al_jax.core.stack import InputError
from al_jax.files.pictures import ids_of, image_of
from al_jax.files.registry import open_picture
from al_jax.files.stacks import read_stack
from al_jax.files.table_rows import read_rows
from al_jax.files.tiffs import is_tiff, open_pages
from al_jax.files.volumes import load_volume
from al_jax.files.weights import read_weights


def read_image(path: pathlib.Path) -> None:
    picture = open_picture(path)
    channels = (0,) if picture.samples not in (1, 3) else None
    assert image_of(picture, picture.orientation, channels).ndim == 3


def read_labels(path: pathlib.Path) -> None:
    picture = open_picture(path)
    assert ids_of(picture, picture.orientation).ndim == 2


def read_pages(path: pathlib.Path) -> None:
    if not is_tiff(path):
        raise InputError("no TIFF")
    with open_pages(path) as pages:
        for page in pages:
            image_of(page, page.orientation, (0,))


READERS = {
    "image": read_image,
    "labels": read_labels,
    "pages": read_pages,
    "volume": load_volume,
    "table": read_rows,
    "stack": read_stack,
    "weights": read_weights,
}


def files() -> list[pathlib.Path]:
    folder = os.environ.get("AL_JAX_FILES")
    found = pathlib.Path(folder).rglob("*") if folder else []
    return sorted(path for path in found if path.is_file())


@pytest.mark.skipif(not files(), reason="set AL_JAX_FILES to a folder of files: see the docstring")
@pytest.mark.parametrize("kind", READERS)
def test_any_file_is_read_or_refused_with_one_line(kind, capfd):
    outcomes: Counter = Counter()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        warnings.simplefilter("ignore", UserWarning)  # notes
        for path in files():
            try:
                READERS[kind](path)
                outcomes["read"] += 1
            except InputError as error:
                assert "\n" not in str(error)
                outcomes["refused"] += 1
    said = capfd.readouterr()
    assert not said.out
    assert not said.err, said.err[:500]
    assert outcomes.total() >= 500 and outcomes["refused"] > 0
