"""The command that makes stacks: which sections, one grid for all, the same bytes, one-line errors.

Its input is a made-up scan whose intensities are a code of its labels.
"""

import json
import pathlib
from collections.abc import Callable, Iterator

import nibabel
import numpy as np
import pytest
import tiny
from absl import flags
from absl.testing import flagsaver
from commands import caller, flags_of
from PIL import Image
from scipy.ndimage import maximum_filter, minimum_filter

from al_jax.files.stacks import read_stack, write_stack
from experiments import synthesise

FLAGS = flags.FLAGS
TABLE = """id,name,group,nine
0,background,background,background
1,Left shell,shell,cortex
2,Right shell,shell,cortex
3,Deep body,body,thalamus
"""
SIZE = "--size=48"


@pytest.fixture(scope="module", autouse=True)
def own_flags() -> Iterator[None]:
    """The flags of the command, for the tests of this module only."""
    with flags_of(synthesise):
        yield


@pytest.fixture
def folder(tmp_path: pathlib.Path, monkeypatch) -> pathlib.Path:
    """The working directory, with two scans in mri/: 20 x 12 x 24 voxels in RAS order.

    The shell is on the coronal slices 2 to 9, the deep body on 4 to 7.
    """
    monkeypatch.chdir(tmp_path)
    (tmp_path / "mri").mkdir()
    labels = np.zeros((20, 12, 24), np.uint8)
    labels[2:10, 2:10, 3:21], labels[10:18, 2:10, 3:21] = 1, 2
    labels[7:13, 4:8, 8:16] = 3
    for scan in ("7", "8"):
        for suffix, volume in (("t1", 60 * labels), ("labels", labels)):
            nibabel.save(nibabel.Nifti1Image(volume, np.eye(4)), f"mri/{scan}_{suffix}.nii.gz")
    (tmp_path / "mri" / "labels.csv").write_text(TABLE)
    return tmp_path


@pytest.fixture
def call(folder, monkeypatch, capsys) -> Callable[..., tuple[int, str, str]]:
    """Runs the command in this process; exit status, standard output and standard error."""
    return caller(synthesise, monkeypatch, capsys)


def made(folder: pathlib.Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in sorted(folder.iterdir())}


@pytest.mark.slow
def test_scans_are_deformed_on_one_grid_and_the_same_again(call, folder):
    arguments = ("--scans=mri", "--grouping=nine", "--sections=4", SIZE)
    status, out, err = call(*arguments, "--out=new/one")
    assert (status, err) == (0, "")
    stems = ("mri_7_nine", "mri_8_nine")
    assert out.splitlines() == [
        *(
            f"mri/{scan}_t1.nii.gz: 4 coronal slices (from 0, in RAS order): 4, 5, 6, 7"
            for scan in (7, 8)
        ),
        *(f"new/one/{stem}.npz: 4 sections of 48x48, 3 classes" for stem in stems),
    ]
    first = made(folder / "new" / "one")
    assert sorted(first) == [f"{stem}.{e}" for stem in stems for e in ("json", "npz", "png")]

    stack = read_stack("new/one/mri_7_nine.npz")
    assert stack.names == ("background", "cortex", "thalamus")
    # Shells are 60 and 120, the body 180: well within a class, the codes agree.
    image, truth = stack.images[..., 0].astype(int), np.asarray(stack.truth)
    around = {"size": (1, 5, 5), "mode": "constant", "cval": -2}
    within = maximum_filter(truth, **around) == minimum_filter(truth, **around)
    assert all((within & (truth == c)).sum() > 10 for c in range(3))
    assert (image[within & (truth == 0)] == 0).all() and (image[within & (truth == 2)] == 180).all()
    shells = image[within & (truth == 1)]
    assert shells.min() == 60 and shells.max() == 120
    assert (truth[0] != truth[1]).any()  # each section on its own
    other = read_stack("new/one/mri_8_nine.npz")
    assert (other.truth != stack.truth).any()  # and each scan

    # Again, one of them, over what lies there, in part broken: the same bytes.
    (folder / "new/one/mri_8_nine.npz").write_bytes(b"half")
    assert call(*arguments, "--ids=8", "--out=new/one")[0] == 0
    assert made(folder / "new/one") == first
    assert call(*arguments, "--ids=8", "--out=other", "--seed=1")[0] == 0
    assert made(folder / "other")["mri_8_nine.npz"] != first["mri_8_nine.npz"]


def test_sections_show_deep_structures_whatever_the_classes(call, folder):
    """'thalamus' is of the column `nine`; the classes are of `group`, or of `name`."""
    arguments = ("--scans=mri", "--ids=7", "--sections=3", "--out=out", "--nodeform")
    assert call(*arguments, "--grouping=group")[0] == 0
    told = json.loads((folder / "out/mri_7_group.json").read_text())
    assert told["sections"] == ["4", "6", "7"]  # three of 4 to 7; linspace puts the middle at 5.5
    assert told["classes"] == ["background", "shell", "body"]
    assert told["deformation"] is None and told["input"]["scans"] == "mri"
    stack = read_stack("out/mri_7_group.npz")
    np.testing.assert_array_equal(stack.images[..., 0] == 180, stack.truth == 2)
    assert call(*arguments, "--within=Left shell")[0] == 0
    assert json.loads((folder / "out/mri_7.json").read_text())["sections"] == [
        "2",
        "6",
        "9",
    ]


def test_a_folder_of_sections_becomes_a_stack(call, folder):
    stack = tiny.stack()
    for name in ("images", "labels"):
        (folder / "Br1" / name).mkdir(parents=True)
    for n in range(3):
        labels = np.where(stack.inside[n], stack.truth[n] + 1, 0).astype(np.uint8)
        Image.fromarray(stack.images[n, ..., 0]).save(f"Br1/images/s{n}.png")
        Image.fromarray(labels).save(f"Br1/labels/s{n}.png")
    pathlib.Path("n.csv").write_text("id,name\n1,background\n2,outer\n3,middle\n4,inner\n")
    status, _, err = call(
        "--images=Br1/images",
        "--labels=Br1/labels",
        "--names=n.csv",
        "--outside_id=0",
        "--nodeform",
        "--stem=Br1",
        "--out=out",
    )
    assert (status, err) == (0, "")
    found = read_stack("out/Br1.npz")
    for part in ("images", "truth", "inside"):
        np.testing.assert_array_equal(getattr(found, part), getattr(stack, part)[:3])
    assert found.names == stack.names
    assert json.loads((folder / "out/Br1.json").read_text())["sections"] == [
        f"s{n}.png" for n in range(3)
    ]


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["--scans=mri"], "--out is missing; name the folder where the stacks go"),
        (["--scans=mri", "--out=out", "--ids=7,9"], "mri: has no 9_t1.nii.gz; correct --scans or"),
        (["--scans=none", "--out=out"], "none: holds no <id>_t1.nii.gz; correct --scans"),
        (["--scans=mri", "--out=out", "--images=mri"], "--images has no effect with --scans"),
        (["--ids=7", "--out=out"], "--ids has no effect without --scans"),
        (
            ["--scans=mri", "--out=out", "--sections=4", "--size=17"],
            "mri_7: the structures are 18 pixels high; a size of 17 cuts them off: give more",
        ),
        (["--scans=mri", "--out=out", "--nodeform", SIZE], "--size has no effect with --nodeform"),
        (["--scans=mri", "--out=out", "--field=rough"], "--field=rough: value should be one of"),
        (["--scans=mri", "--sections=4", "--nodeform", "--out=mri/labels.csv"], "labels.csv: "),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_what_is_refused(call, folder, arguments, says):
    before = sorted(folder.rglob("*"))
    status, out, err = call(*arguments)
    assert status == 2 and ".npz" not in out
    assert err.startswith("error: ") and err.count("\n") == 1 and says in err
    assert sorted(folder.rglob("*")) == before


def test_a_stack_is_not_written_over_itself(call, folder):
    write_stack("stack.npz", tiny.stack())
    before = made(folder / "mri"), pathlib.Path("stack.npz").read_bytes()
    status, _, err = call("--stack=stack.npz", "--out=.", SIZE)
    assert status == 2 and "stack.npz: would be overwritten; give another --out" in err
    assert (made(folder / "mri"), pathlib.Path("stack.npz").read_bytes()) == before


def test_what_another_input_gave_is_not_replaced(call, folder):
    """T1 of two subjects has one name; a correction of the same file may replace what was made."""
    labels = np.zeros((12, 12, 12), np.uint8)
    labels[3:9, 2:10, 3:9] = 3
    for subject in ("one", "two"):
        (folder / subject).mkdir()
        nibabel.save(nibabel.Nifti1Image(60 * labels, np.eye(4)), f"{subject}/T1.mgz")
        nibabel.save(nibabel.Nifti1Image(labels, np.eye(4)), f"{subject}/aseg.mgz")

    def make(subject: str, *more: str) -> tuple[int, str, str]:
        return call(
            f"--images={subject}/T1.mgz",
            f"--labels={subject}/aseg.mgz",
            "--names=mri/labels.csv",
            "--sections=4",
            "--nodeform",
            "--out=out",
            *more,
        )

    assert make("one")[0] == 0
    before = made(folder / "out")
    status, _, err = make("two")
    assert status == 2 and err == (
        "error: out/T1.npz: was made of ../one/T1.mgz, and ../two/T1.mgz would replace it; give "
        "another --out or --stem\n"
    )
    assert made(folder / "out") == before
    assert make("one", "--axis=axial")[0] == 0 and made(folder / "out") != before
    assert make("two", "--stem=two_T1")[0] == 0


@pytest.mark.parametrize(
    ("name", "stem"),
    [
        ("T1.mgz", "T1"),
        ("sub-01.run-2.nii.gz", "sub-01.run-2"),
        ("brain.seg.nrrd", "brain"),
        ("stack.ome.tif", "stack"),
    ],
)
def test_files_are_named_after_the_input(folder, name, stem):
    with flagsaver.flagsaver(grouping=None):
        assert synthesise._stem(pathlib.Path(name)) == stem
        assert synthesise._stem(folder / "mri") == "mri" and synthesise._stem(None) == "colin27"
    with flagsaver.flagsaver(grouping="nine"):
        assert synthesise._stem(pathlib.Path(name)) == f"{stem}_nine"
