"""The flags that name a stack: what they read, what is said of it, and what they refuse."""

import pathlib
import sys
from collections.abc import Callable, Iterator

import numpy as np
import pytest
import tifffile
from absl import flags
from absl.testing import flagsaver
from commands import flags_of
from samples import TABLE, refused, save, small_stack, small_volumes

from al_jax.commands import stack_flags
from al_jax.core.stack import Stack
from al_jax.files.stacks import write_stack

FLAGS = flags.FLAGS


@pytest.fixture(scope="module", autouse=True)
def own_flags() -> Iterator[None]:
    """The flags, for the tests of this module only."""
    with flags_of(stack_flags):
        yield


@pytest.fixture
def folder(tmp_path: pathlib.Path, monkeypatch) -> pathlib.Path:
    """The working directory, with a volume, and its sagittal slices in folders."""
    monkeypatch.chdir(tmp_path)
    image, labels = small_volumes()
    for name, array in (("images", image), ("labels", labels)):
        pathlib.Path(name).mkdir()
        save(pathlib.Path(f"{name}.nii"), array)
        for n, section in enumerate(array):
            tifffile.imwrite(f"{name}/s{n}.tif", section)
    pathlib.Path("names.csv").write_text(TABLE)
    write_stack("stack.npz", small_stack())
    return tmp_path


@pytest.fixture
def load(folder) -> Iterator[Callable[..., Stack]]:
    """The stack that arguments of a command name."""
    with flagsaver.flagsaver():

        def read(*arguments: str) -> Stack:
            FLAGS.unparse_flags()
            for name in ("stack", *stack_flags.FILE_FLAGS):
                FLAGS[name].unparse()
            FLAGS([sys.argv[0], *arguments])
            return stack_flags.load_stack()

        yield read


FOLDER = ("--images=images", "--labels=labels", "--names=names.csv")
VOLUME = ("--images=images.nii", "--labels=labels.nii", "--names=names.csv")


def test_a_folder_is_read_and_its_order_is_printed(load, capsys):
    stack = load(*FOLDER)
    assert stack.images.shape == (10, 12, 14, 1)
    assert capsys.readouterr().out == (
        "images: 10 sections in this order: s0.tif, s1.tif, s2.tif, s3.tif, s4.tif, s5.tif, "
        "s6.tif, s7.tif, s8.tif, s9.tif\n"
    )
    assert stack_flags.describe(stack) == {
        "images": "images",
        "labels": "labels",
        "names": "names.csv",
        "section_names": [f"s{n}.tif" for n in range(10)],
        "classes": ["background", "left", "right", "shell"],
    }


def test_a_volume_is_cut_and_what_was_noted_is_printed(load, capsys):
    stack = load(*VOLUME, "--axis=sagittal", "--grouping=group")
    assert stack.sections == tuple("234567")
    said = capsys.readouterr()
    note = "24 sections were asked for but 6 show the structures; all of these are taken"
    assert said.err == "" and said.out.splitlines() == [
        f"note: labels.nii: {note}",
        "images.nii: 6 sagittal slices (from 0, in RAS order): 2, 3, 4, 5, 6, 7",
    ]
    assert load(*VOLUME, "--sections=2", "--within=nucleus").num_sections == 2
    assert load(*VOLUME, "--spacing=2").num_sections == 3


def test_options_reach_the_readers(load, folder):
    outside = load(*FOLDER, "--outside_id=5", "--grouping=group")
    assert outside.names == ("background", "nucleus", "shell") and not outside.inside.all()
    assert not load(*VOLUME, "--sections=6", "--outside_id=5").inside.all()
    for n in range(10):
        image = tifffile.imread(f"images/s{n}.tif")
        tifffile.imwrite(
            f"images/s{n}.tif", np.stack([image, 255 - image], -1), photometric=1, planarconfig=1
        )
        pathlib.Path(f"labels/s{n}.tif").rename(f"labels/s{n}_mine.tif")
    refused("labels: lacks the section 's0' .*s0_mine.tif.*--label_suffix", load, *FOLDER)
    refused("has 2 channels", load, *FOLDER, "--label_suffix=_mine")
    first, second = (
        load(*FOLDER, "--label_suffix=_mine", f"--channels={channel}") for channel in (0, 1)
    )
    np.testing.assert_array_equal(first.images, 255 - second.images)


def test_a_path_may_begin_with_the_home_directory(load, folder, monkeypatch):
    monkeypatch.setenv("HOME", str(folder))
    home = [argument.replace("=", "=~/") for argument in FOLDER]
    np.testing.assert_array_equal(load(*home).truth, load(*FOLDER).truth)
    assert load("--stack=~/stack.npz").sections == small_stack().sections


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        ((*FOLDER, "--stack=stack.npz"), "--stack and --images exclude each other"),
        (FOLDER[:2], "--names is missing; --images, --labels and --names go together"),
        (("--grouping=group",), "--grouping has no effect without --images"),
        (("--stack=stack.npz", "--channels=0"), "--channels has no effect without --images"),
        ((*FOLDER, "--axis=axial"), "--axis has no effect with pictures of sections"),
        ((*VOLUME, "--label_suffix=_x"), "--label_suffix has no effect with a volume"),
        ((*VOLUME, "--sections=3", "--spacing=2"), "--sections and --spacing exclude each other"),
        ((*FOLDER, "--channels=red"), "--channels=red takes numbers, such as 0 or 0,1,2"),
        ((*FOLDER, "--channels=0,1"), "--channels=0,1 chooses 2; choose one or three"),
        (("--stack=none.npz",), "none.npz: there is no such file"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, tuple) else "",
)
def test_what_is_refused(load, capsys, arguments, says):
    refused(says, load, *arguments)
    assert capsys.readouterr().out == ""
