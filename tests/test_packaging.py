"""A wheel holds the library alone; the commands stay in the clone."""

import importlib.metadata
import pathlib
import shutil
import subprocess
import sys
import zipfile

import pytest

ROOT = pathlib.Path(__file__).parents[1]
TYPES = (".py", ".pyi", ".typed", ".md", ".npz", ".yaml")


@pytest.fixture(scope="module")
def wheel(tmp_path_factory) -> zipfile.ZipFile:
    try:
        version = importlib.metadata.version("setuptools")
    except importlib.metadata.PackageNotFoundError:
        version = "0"
    if int(version.split(".")[0]) < 77:
        pytest.skip(f"setuptools {version}: a wheel is built by 77 or newer (extra 'test')")
    # A copy, as setuptools puts into a wheel whatever an earlier build has left beside the code.
    source, out = tmp_path_factory.mktemp("source"), tmp_path_factory.mktemp("wheel")
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, source)
    for name in ("al_jax", "experiments", "tests"):
        shutil.copytree(ROOT / name, source / name)
    subprocess.run(
        [
            *(sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps"),
            *("--no-build-isolation", "--no-index", f"--wheel-dir={out}", str(source)),
        ],
        check=True,
    )
    (built,) = out.glob("*.whl")
    return zipfile.ZipFile(built)


def test_a_wheel_holds_the_library_alone(wheel):
    files = {name for name in wheel.namelist() if ".dist-info/" not in name}
    paths = [p for p in (ROOT / "al_jax").rglob("*") if p.suffix in TYPES and p.is_file()]
    assert files == {str(path.relative_to(ROOT)) for path in paths}
    assert {"al_jax/py.typed", "al_jax/data/colin27.npz"} <= files


def test_a_wheel_has_its_licence(wheel):
    (licence,) = [name for name in wheel.namelist() if name.endswith("/LICENSE")]
    assert wheel.read(licence) == (ROOT / "LICENSE").read_bytes()
    (metadata,) = [name for name in wheel.namelist() if name.endswith(".dist-info/METADATA")]
    assert "License-Expression: Apache-2.0" in wheel.read(metadata).decode()


def test_an_unpacked_wheel_works_in_another_folder(wheel, tmp_path):
    """Its dependencies are those of this Python."""
    site, elsewhere = tmp_path / "site", tmp_path / "elsewhere"
    elsewhere.mkdir()
    wheel.extractall(site)
    program = (
        f"import sys; sys.path.insert(0, {str(site)!r}); import al_jax; print(al_jax.__file__); "
        "print(al_jax.load_default().num_classes)"
    )
    said = subprocess.run(
        [sys.executable, "-c", program], cwd=elsewhere, check=True, capture_output=True, text=True
    )
    assert said.stdout.split() == [str(site / "al_jax" / "__init__.py"), "9"]


WITHOUT = """
import importlib, sys
sys.modules |= dict.fromkeys(("dask", "distributed", "cryptography"))
for name in sys.argv[1:]:
    importlib.import_module(f"experiments.{name}")
"""


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
    said = "is not installed; run: python -m pip install -e '.[sweep]'\n"
    assert sweep.stderr.startswith("error: ") and sweep.stderr.endswith(said), sweep.stderr
