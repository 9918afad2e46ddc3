"""What an installation gives: the wheel's content, its program outside any clone, its types."""

import importlib.metadata
import json
import pathlib
import re
import shutil
import subprocess
import sys
import tomllib
import venv
import zipfile
from collections.abc import Callable

import numpy as np
import pytest
import tiny
from PIL import Image

import al_jax
from al_jax.files.stacks import write_stack

ROOT = pathlib.Path(__file__).parents[1]
TYPES = (".py", ".pyi", ".typed", ".md", ".npz", ".yaml", ".jinja")
EXTRAS = (
    "napari",
    "qtpy",
    "PySide6",
    "rasterio",
    "slicerio",
    "roifile",
    "distributed",
    "cryptography",
)
QUICK = ("--initial_steps=4", "--query_steps=1", "--crop=32", "--batch=2")


def pip(*arguments: str | pathlib.Path) -> None:
    """Installs or builds what is here, from nothing but this Python's own packages."""
    alone = ("--quiet", "--no-deps", "--no-index", "--no-build-isolation")
    program = [sys.executable, "-m", "pip", "--disable-pip-version-check"]
    if arguments[0] == "--python":
        program, arguments = [*program, *map(str, arguments[:2])], arguments[2:]
    subprocess.run([*program, arguments[0], *alone, *map(str, arguments[1:])], check=True)


@pytest.fixture(scope="module")
def source(tmp_path_factory) -> pathlib.Path:
    """A copy: setuptools puts into a wheel whatever an earlier build has left beside the code."""
    try:
        version = importlib.metadata.version("setuptools")
    except importlib.metadata.PackageNotFoundError:
        version = "0"
    if int(version.split(".")[0]) < 77:
        pytest.skip(f"setuptools {version}: a wheel is built by 77 or newer (extra 'test')")
    copy = tmp_path_factory.mktemp("source")
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, copy)
    for name in ("al_jax", "experiments", "tests"):
        shutil.copytree(ROOT / name, copy / name, ignore=shutil.ignore_patterns("__pycache__"))
    return copy


@pytest.fixture(scope="module")
def wheel(source, tmp_path_factory) -> pathlib.Path:
    out = tmp_path_factory.mktemp("wheel")
    pip("wheel", f"--wheel-dir={out}", source)
    (built,) = out.glob("*.whl")
    return built


def environment(folder: pathlib.Path, *installed: str | pathlib.Path) -> pathlib.Path:
    """The `bin` of a fresh environment without extras; dependencies are those of this Python."""
    venv.create(folder, symlinks=True)
    (site,) = folder.glob("lib/python*/site-packages")
    lines = [path for path in sys.path if path.endswith("-packages")]
    lines.append(f"import sys; sys.modules.update(dict.fromkeys({EXTRAS}))")
    (site / "dependencies.pth").write_text("\n".join(lines) + "\n")
    # What is among the dependencies must neither count as installed nor be removed.
    pip("--python", folder / "bin" / "python", "install", "--ignore-installed", *installed)
    return folder / "bin"


@pytest.fixture(scope="module")
def of_wheel(wheel, tmp_path_factory) -> pathlib.Path:
    return environment(tmp_path_factory.mktemp("of_wheel"), wheel)


@pytest.fixture(scope="module")
def cache(tmp_path_factory) -> pathlib.Path:
    return tmp_path_factory.mktemp("cache")


@pytest.fixture
def call(of_wheel, cache, tmp_path, monkeypatch) -> Callable[..., tuple[int, str, str]]:
    """Runs a program of the wheel in a folder outside any clone; exit status, output, errors."""
    monkeypatch.delenv("PYTHONPATH", raising=False)
    monkeypatch.setenv("XDG_CACHE_HOME", str(cache))
    monkeypatch.chdir(tmp_path)

    def run(name: str, *arguments: str) -> tuple[int, str, str]:
        program = [str(of_wheel / name), *arguments]
        done = subprocess.run(program, capture_output=True, text=True, timeout=600)
        return done.returncode, done.stdout, done.stderr

    return run


# What is in it.


def test_a_wheel_holds_the_library_alone(wheel):
    files = {name for name in zipfile.ZipFile(wheel).namelist() if ".dist-info/" not in name}
    paths = [p for p in (ROOT / "al_jax").rglob("*") if p.suffix in TYPES and p.is_file()]
    assert files == {str(path.relative_to(ROOT)) for path in paths}
    assert {"al_jax/py.typed", "al_jax/data/colin27.npz", "al_jax/napari.yaml"} <= files


def test_a_wheel_says_what_it_is(wheel):
    archive = zipfile.ZipFile(wheel)
    about = {name.partition("/")[2]: name for name in archive.namelist() if ".dist-info/" in name}
    assert archive.read(about["licenses/LICENSE"]) == (ROOT / "LICENSE").read_bytes()
    metadata = archive.read(about["METADATA"]).decode()
    assert "License-Expression: Apache-2.0" in metadata
    assert f"\nVersion: {al_jax.__version__}\n" in metadata
    assert "Classifier: Framework :: napari" in metadata
    points = archive.read(about["entry_points.txt"]).decode()
    assert "[console_scripts]\nal-jax = al_jax.__main__:main\n" in points


def test_the_version_is_written_once():
    assert "version" not in tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    citation = (ROOT / "CITATION.cff").read_text()
    changes = (ROOT / "CHANGELOG.md").read_text()
    assert f"\nversion: {al_jax.__version__}\n" in citation
    assert re.findall(r"^## \[?([\d.]+)", changes, re.MULTILINE)[0] == al_jax.__version__


# The program of it, where nothing else of the project is.


def test_the_program_is_that_of_the_wheel(call, of_wheel):
    program = "import al_jax; print(al_jax.__file__); print(al_jax.load_default().num_classes)"
    status, out, err = call("python", "-c", program)
    assert status == 0, err
    file, classes = out.split()
    assert pathlib.Path(file).is_relative_to(of_wheel.parent) and classes == "9"
    assert call("al-jax", "--version") == (0, f"al_jax {al_jax.__version__}\n", "")


def test_what_it_cannot_do_is_said_in_one_line(call, tmp_path):
    status, out, err = call("al-jax", "annotate", "--workdir=s")
    assert (status, out) == (2, "")
    assert err == (
        "error: the window needs napari; run: python -m pip install 'al_jax[window]', or answer "
        "without one: al-jax annotate init, suggest, ingest (see --help)\n"
    )
    line = "error: s: is not a session; to make one, run: al-jax annotate init --workdir=s\n"
    assert call("al-jax", "export", "--workdir=s") == (2, "", line)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.slow
def test_a_stack_is_simulated(call, tmp_path):
    write_stack(tmp_path / "a.npz", tiny.stack())
    arguments = ("--stack=a.npz", "--strategies=BDa", "--workdir=out", "--max_effort=0.5", *QUICK)
    status, out, err = call("al-jax", "simulate", *arguments)
    assert status == 0, err
    assert out.endswith("out: queries.csv, surfaces.csv, result.json, curve.png, annotations.png\n")
    result = json.loads((tmp_path / "out" / "result.json").read_text())
    assert result["versions"]["al_jax"] == al_jax.__version__
    assert result["summary"]["BDa"]["queries"] > 0


@pytest.mark.slow
def test_a_stack_is_annotated(call, tmp_path):
    """A folder of pictures, one answer drawn in a file as any tool may, and the export."""
    stack = tiny.stack()
    (tmp_path / "slides").mkdir()
    for section, image in enumerate(stack.images[..., 0]):
        Image.fromarray(np.asarray(image)).save(tmp_path / "slides" / f"{section}.png")
    rows = [f"{number},{name}\n" for number, name in enumerate(stack.names)]
    (tmp_path / "classes.csv").write_text("id,name\n" + "".join(rows))

    def good(*words: str):
        status, out, err = call("al-jax", *words, "--workdir=s", "--json")
        assert status == 0, err
        return json.loads(out)

    begun = good("annotate", "init", "--images=slides", "--names=classes.csv", *QUICK)
    assert begun["classes"] == list(stack.names) and begun["answers"] == 0
    asked = good("annotate", "suggest")
    template = next(path for path in asked["files"] if path.endswith("template.png"))
    shown = np.asarray(Image.open(template))
    structure = stack.names.index(asked["structure"])
    truth = np.asarray(stack.truth)[asked["section"]] == structure
    drawn = np.where(truth, structure + 1, shown).astype(np.uint8)  # ids count from 1
    Image.fromarray(drawn).save(tmp_path / "traced.png")
    stored = good("annotate", "ingest", "--answer=traced.png")
    assert (stored["section"], stored["structure"]) == (asked["section"], asked["structure"])
    assert good("annotate", "status")["answers"] == 1
    files = {pathlib.Path(path).name for path in good("export")["files"]}
    assert {"ranges.csv", "report.html", "answers.csv"} <= files
    assert good("annotate", "undo")["undone"]["structure"] == asked["structure"]


# What `import al_jax` loads.

READERS = ("nibabel", "nrrd", "tifffile", "imagecodecs", "PIL", "safetensors")
OTHERS = ("skimage", "matplotlib", "orbax", "napari", "absl.app", "tqdm")


def test_an_import_loads_no_reader(call):
    status, _, err = call("python", "-X", "importtime", "-c", "import al_jax")
    loaded = {line.rpartition("|")[2].strip() for line in err.splitlines()}
    assert status == 0 and "al_jax" in loaded
    assert not loaded & {*READERS, *OTHERS}


# Types.

SCRIPT = '''
"""What a user may write: how much of a stack's outline each class is."""

import sys
from collections.abc import Iterator

import numpy as np

import al_jax
from al_jax import InputError, Stack


def stack_of(paths: list[str]) -> Stack:
    """The stack that is named, or the shipped one."""
    return al_jax.read_stack(paths[0]) if paths else al_jax.load_default()


def present(stack: Stack) -> np.ndarray:
    """Which classes are on which section, [N, C] bool."""
    shown = [np.isin(np.arange(stack.num_classes), section) for section in stack.truth]
    return np.stack(shown)


def rows(stack: Stack) -> Iterator[tuple[str, int]]:
    """Each class with the number of sections that show it."""
    counts: list[int] = present(stack).sum(0).tolist()
    yield from zip(stack.names, counts, strict=True)


if __name__ == "__main__":
    try:
        for name, count in rows(stack_of(sys.argv[1:])):
            print(f"{name}: {count + 0} sections")
    except InputError as error:
        sys.exit(str(error))
'''
WRONG = """
import al_jax

names: list[int] = al_jax.load_default().names
print(al_jax.load_default().num_clases)
al_jax.load_default(1)
"""


@pytest.mark.slow
def test_a_users_script_is_checked_against_the_types(
    source, of_wheel, tmp_path_factory, tmp_path, monkeypatch
):
    pytest.importorskip("mypy")
    monkeypatch.delenv("PYTHONPATH", raising=False)
    editable = environment(tmp_path_factory.mktemp("editable"), "--editable", source)
    (tmp_path / "right.py").write_text(SCRIPT)
    (tmp_path / "wrong.py").write_text(WRONG)
    cache = tmp_path_factory.mktemp("types")
    for folder in (of_wheel, editable):
        program = [sys.executable, "-m", "mypy", "--strict", f"--cache-dir={cache}"]
        program.append(f"--python-executable={folder / 'python'}")
        right, wrong = (
            subprocess.run([*program, name], cwd=tmp_path, capture_output=True, text=True)
            for name in ("right.py", "wrong.py")
        )
        assert right.returncode == 0, right.stdout + right.stderr
        kinds = re.findall(r"wrong\.py:(\d+): error: .*\[([\w-]+)\]$", wrong.stdout, re.MULTILINE)
        found = [("4", "assignment"), ("5", "attr-defined"), ("6", "call-arg")]
        assert kinds == found, wrong.stdout + wrong.stderr


# A clone.

WITHOUT = """
import importlib, sys
sys.modules |= dict.fromkeys(("dask", "distributed", "cryptography"))
for name in sys.argv[1:]:
    importlib.import_module(f"experiments.{name}")
"""


@pytest.mark.slow
def test_sweeps_alone_need_their_extra():
    """As an installation without extras has it; a sweep says how to get it."""

    def imported(*names: str) -> subprocess.CompletedProcess[str]:
        program = [sys.executable, "-c", WITHOUT, *names]
        return subprocess.run(program, cwd=ROOT, capture_output=True, text=True)

    alone = imported(
        "simulate", "synthesise", "report", "bench.lengths", "bench.benchmark", "bench.scale"
    )
    assert alone.returncode == 0, alone.stderr
    sweep = imported("sweep")
    assert (sweep.returncode, sweep.stdout) == (2, "")
    message = "is not installed; run: python -m pip install -e '.[sweep]'\n"
    assert sweep.stderr.startswith("error: ") and sweep.stderr.endswith(message), sweep.stderr
