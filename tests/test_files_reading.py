"""What readers say: the true cause in one line, notes as warnings, and nothing of the libraries."""

import logging
import warnings

import pytest
from samples import refused

from al_jax.files.reading import InputNote, by, full_path, listed, note, reading


def fails(path, error):
    with reading(path, "a thing"):
        raise error


@pytest.mark.parametrize(
    ("error", "message"),
    [
        (
            ValueError("bad\nmagic"),
            "x: cannot be read as a thing, it may be damaged .ValueError: bad magic",
        ),
        (NotImplementedError("no"), "x: is of a kind that is not read .NotImplementedError: no"),
        (
            OSError("Unsupported BMP header"),
            "x: is of a kind that is not read .OSError: Unsupported",
        ),
        (IsADirectoryError(), "x: is a folder, not a thing; name a file"),
        (PermissionError(13, "Permission denied"), "x: may not be read .Permission denied"),
        (
            ImportError("No module named 'h5py'"),
            "x: needs a package that is not installed .No module",
        ),
        (MemoryError("Unable to allocate 3 TiB"), "x: needs more memory than there is .Unable"),
        (FileNotFoundError(2, "No such file", "x"), "x: there is no such file; check the path"),
    ],
)
def test_errors_blame_the_right_thing(error, message):
    refused(message, fails, "x", error)


def test_an_empty_path_is_no_folder():
    refused("an empty path: there is no such file", fails, "", IsADirectoryError())


def test_the_other_half_of_a_pair_is_named(tmp_path):
    path = tmp_path / "half.hdr"
    path.touch()
    missing = FileNotFoundError(2, "No such file", str(tmp_path / "half.img"))
    refused("half.hdr: its other half half.img is missing", fails, path, missing)


def test_only_notes_are_heard(caplog):
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        with reading("x", "a thing"):
            warnings.warn("of a library", RuntimeWarning, stacklevel=1)
            logging.getLogger("tifffile").error("of a library")
            note("x: of\na reader")
    assert [(w.category, str(w.message)) for w in caught] == [(InputNote, "x: of a reader")]
    assert caplog.messages == []
    logging.getLogger("tifffile").error("heard again")
    assert caplog.messages == ["heard again"]
    with pytest.raises(InputNote), warnings.catch_warnings():
        warnings.simplefilter("error")
        with reading("x", "a thing"):
            note("x: what a user chose to be an error")


def test_words():
    assert (
        listed("abc", 2) == "a, b and 1 more"
        and listed("ab", 2) == "a, b"
        and by((3, 4)) == "3 by 4"
    )


def test_full_path(monkeypatch, tmp_path):
    monkeypatch.setenv("HOME", str(tmp_path))
    assert full_path("~/x") == tmp_path / "x" and str(full_path("x~")) == "x~"
    assert str(full_path("~nobody-of-this-name/x")) == "~nobody-of-this-name/x"
