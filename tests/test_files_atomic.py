"""Files are written completely or not at all."""

import os

import pytest
from samples import refused

from al_jax.files.atomic import write_atomic


def test_write_atomic_replaces_and_leaves_nothing_beside(tmp_path):
    path = tmp_path / ("x" * 250)
    write_atomic(path, b"one")
    write_atomic(path, b"two")
    assert path.read_bytes() == b"two"
    assert os.listdir(tmp_path) == [path.name]


def test_write_atomic_keeps_the_old_file_when_it_fails(tmp_path, monkeypatch):
    path = tmp_path / "file"
    path.write_bytes(b"old")

    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    refused(
        "file: cannot be written .No space left on device.; make room", write_atomic, path, b"new"
    )
    assert path.read_bytes() == b"old" and os.listdir(tmp_path) == ["file"]


def test_write_atomic_removes_the_temporary_file_when_interrupted(tmp_path, monkeypatch):
    def interrupt(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr(os, "replace", interrupt)
    with pytest.raises(KeyboardInterrupt):
        write_atomic(tmp_path / "file", b"new")
    assert os.listdir(tmp_path) == []


def test_write_atomic_names_a_place_that_cannot_be_written(tmp_path):
    refused("missing/file: cannot be written", write_atomic, tmp_path / "missing/file", b"")
    (tmp_path / "folder").mkdir()
    refused("folder: cannot be written", write_atomic, tmp_path / "folder", b"")
    assert os.listdir(tmp_path) == ["folder"]
