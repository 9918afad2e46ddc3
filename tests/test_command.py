"""Bad input at the command line: one line on standard error, exit status 2, nothing left behind."""

import gc
import importlib.util
import io
import json
import os
import pathlib
import runpy
import subprocess
import sys
from collections.abc import Callable, Iterator

import jax
import numpy as np
import pytest
import tiny
from absl import flags
from commands import caller, flags_of
from PIL import Image
from safetensors.numpy import save_file

from al_jax.commands import command, folders, simulate
from al_jax.core.stack import make_stack
from al_jax.files.stacks import write_stack
from al_jax.files.weights import TORCHVISION
from al_jax.model.networks import NETWORKS

ROOT = pathlib.Path(__file__).parents[1]
FLAGS = flags.FLAGS


@pytest.fixture(scope="module", autouse=True)
def own_flags() -> Iterator[None]:
    """The flags of the command, for the tests of this module only."""
    with flags_of(simulate):
        yield


@pytest.fixture
def folder(tmp_path: pathlib.Path, monkeypatch) -> pathlib.Path:
    """The working directory, with a good stack, folder and CSV in it."""
    monkeypatch.chdir(tmp_path)
    write_stack("stack.npz", tiny.stack())
    pathlib.Path("names.csv").write_text("id,name\n0,background\n1,outer\n2,middle\n3,inner\n")
    return tmp_path


@pytest.fixture
def call(folder, monkeypatch, capsys) -> Callable[..., tuple[int, str, str]]:
    """Runs the command in this process; exit status, standard output and standard error."""
    return caller(simulate, monkeypatch, capsys)


@pytest.fixture
def refused(call, folder) -> Callable[..., str]:
    """Asserts that the command refuses its arguments as it should; its line."""

    def run(*arguments: str) -> str:
        before = content(folder)
        status, out, err = call(*arguments)
        assert (status, out) == (2, ""), err
        assert content(folder) == before
        return one_line(err)

    return run


def content(folder: pathlib.Path) -> dict[str, bytes | None]:
    """Every path below a folder, with the bytes of the files."""
    return {
        str(path.relative_to(folder)): path.read_bytes() if path.is_file() else None
        for path in sorted(folder.rglob("*"))
    }


def one_line(err: str) -> str:
    assert err.startswith("error: ") and err.endswith("\n") and err.count("\n") == 1, err
    assert "Traceback" not in err and "  " not in err
    return err.removeprefix("error: ").strip()


def write_npz(**changes: np.ndarray) -> str:
    """bad.npz: the good stack with some arrays replaced."""
    stack = tiny.stack()
    arrays = {k: np.asarray(getattr(stack, k)) for k in ("images", "truth", "inside", "names")}
    np.savez("bad.npz", **(arrays | changes))
    return "--stack=bad.npz"


# Files.


def test_the_shapes_of_an_npz_disagree(refused):
    line = refused(write_npz(truth=np.zeros((6, 40, 47), int)))
    assert "bad.npz: truth has shape [6, 40, 47]" in line


def test_a_label_is_outside_its_range(refused):
    truth = np.array(tiny.stack().truth)
    truth[2, 20, 20] = 4
    line = refused(write_npz(truth=truth))
    assert line.startswith("bad.npz: section 2 has class 4 but the 4 names allow 0 to 3; ")


def test_a_pixel_is_not_finite(refused):
    images = np.asarray(tiny.stack().images, np.float32)
    images[3, 10, 10] = np.nan
    assert "bad.npz: section 3 has pixels that are not finite" in refused(write_npz(images=images))


def test_a_class_is_empty(refused):
    names = np.array(["background", "outer", "middle", "inner", "core"])
    assert "no section has a pixel of class 'core'" in refused(write_npz(names=names))


def test_there_is_one_section(refused):
    stack = tiny.stack()
    first = {k: np.asarray(getattr(stack, k))[:1] for k in ("images", "truth", "inside")}
    assert "bad.npz: there is only one section" in refused(write_npz(**first))


def test_there_is_one_class(refused):
    truth, names = np.zeros((6, 40, 48), int), np.array(["background"])
    line = refused(write_npz(truth=truth, names=names))
    assert "bad.npz: there is no class but background" in line


def test_a_file_is_truncated(refused, folder):
    whole = pathlib.Path("stack.npz").read_bytes()
    pathlib.Path("half.npz").write_bytes(whole[: len(whole) // 2])
    assert "half.npz: cannot be read as an npz file" in refused("--stack=half.npz")


def test_a_file_is_no_stack(refused):
    assert "names.csv: cannot be read as an npz file" in refused("--stack=names.csv")


def test_a_file_is_missing(refused):
    assert "none.npz: there is no such file; check the path" in refused("--stack=none.npz")
    line = refused("--images=none.nii.gz", "--labels=none.nii.gz", "--names=names.csv")
    assert "none.nii.gz: there is no such file; check the path" in line


def write_folders(last_id: int = 3) -> tuple[str, ...]:
    """Two folders of PNGs whose last section has a pixel of `last_id`."""
    stack = tiny.stack()
    for name in ("images", "labels"):
        os.makedirs(name)
    for n in range(3):
        labels = np.where(stack.inside[n], stack.truth[n], 0).astype(np.uint8)
        labels[20, 24] = last_id if n == 2 else labels[20, 24]
        Image.fromarray(stack.images[n, ..., 0]).save(f"images/{n}.png")
        Image.fromarray(labels).save(f"labels/{n}.png")
    return "--images=images", "--labels=labels", "--names=names.csv"


def test_an_id_is_not_in_the_table(refused):
    line = refused(*write_folders(last_id=9))
    assert line.startswith("labels/2.png: has the id 9, which names.csv does not list; add it")


def test_a_section_has_another_size(refused):
    arguments = write_folders()
    Image.fromarray(np.zeros((40, 40), np.uint8)).save("labels/1.png")
    assert "labels/1.png: has 40 by 40 pixels but images/1.png has 40 by 48" in refused(*arguments)


# Flags.


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["--strategies=BDa,Best"], "strategy 'Best' is unknown; use BDa, Da,"),
        (["--strategies=Da,BDa,Da"], "strategy 'Da' is named twice"),
        (["--strategies="], "--strategies is empty; use BDa, Da,"),
        (["--strategy=BDa"], "Unknown command line flag 'strategy'. Did you mean: strategies"),
        (["BDa"], "'BDa' is not a flag; see --help"),
        (["--network=huge"], "network 'huge' is not one of full, full_without_fc, small"),
        (["--field=rough"], "--field=rough: value should be one of"),
        (["--batch=0"], "--batch=0"),
        (["--devices=0"], "--devices=0"),
        (["--devices=999"], f"--devices=999: JAX finds {jax.device_count()}; ask for no more"),
        (["--batch=eight"], "--batch=eight"),
        (["--crop=8"], "--crop=8"),
        (["--crop=1000000"], "--crop=1000000"),
        (["--alpha=1.5"], "--alpha=1.5"),
        (["--alpha=half"], "--alpha=half"),
        (["--seed=-1"], "--seed=-1"),
        (["--seed=4294967296"], "--seed=4294967296"),
        (["--clip=0"], "--clip=0"),
        (["--target_dice=95"], "--target_dice=95"),
        (["--learning_rate=nan"], "--learning_rate=nan: give a finite number"),
        (["--clip=inf"], "--clip=inf: give a finite number"),
        (["--learning_rate=-0.1"], "--learning_rate=-0.1"),
        (["--initial_steps="], "--initial_steps="),
        (["--seed"], "Missing value for flag"),
        (["--stack=stack.npz", "--images=images"], "--stack and --images exclude each other"),
        (["--images=images"], "--labels is missing; --images, --labels and --names go together"),
        (["--images=images", "--labels=labels"], "--names is missing"),
        (["--labels=labels", "--names=names.csv"], "--images is missing"),
        (["--stack=stack.npz", "--sections=9"], "--sections has no effect without --images"),
        (["--spacing=5"], "--spacing has no effect without --images"),
        (["--stack="], "there is no such file"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_flags_that_are_refused(refused, arguments, says):
    assert says in refused(*arguments)


def test_flags_of_one_kind_of_input_are_refused_with_another(refused):
    arguments = write_folders()
    line = refused(*arguments, "--axis=axial")
    assert line == "--axis has no effect with pictures of sections; leave it out"
    pathlib.Path("a.nii").touch()
    files = ("--images=a.nii", "--labels=b.nii", "--names=names.csv")
    line = refused(*files, "--label_suffix=_mask")
    assert line == "--label_suffix has no effect with a volume; leave it out"


# The output directory.


@pytest.fixture
def begun(folder, call, monkeypatch) -> pathlib.Path:
    """A directory whose run has begun and done nothing yet."""
    with monkeypatch.context() as patch:
        patch.setattr(simulate, "simulate_into", lambda *_: None)
        assert call("--stack=stack.npz", "--workdir=out", "--strategies=BDa,Rand")[0] == 0
    return folder / "out"


@pytest.mark.parametrize(
    ("changed", "says"),
    [
        ("--clip=5", "clip was 1.0, is 5.0"),
        ("--field=paper", "field was smooth, is paper"),
        ("--seed=3", "seed was 0, is 3"),
        ("--strategies=Rand", "strategies was BDa,Rand, is Rand; strategy_digests was "),
        ("--count_background", "count_background was False, is True"),
    ],
)
def test_an_output_directory_of_another_configuration(refused, begun, changed, says):
    line = refused("--stack=stack.npz", "--workdir=out", "--strategies=BDa,Rand", changed)
    assert line.startswith(f"out: holds another run ({says}")
    assert line.endswith("); choose another --workdir")
    assert line.count(";") == 1 + says.count(";")


def test_an_output_directory_of_another_stack(refused, begun):
    write_stack("other.npz", tiny.stack(1))
    line = refused("--stack=other.npz", "--workdir=out", "--strategies=BDa,Rand")
    assert line.startswith("out: holds another run (stack was ")


def test_an_output_directory_of_an_older_version(refused, begun):
    was = json.loads((begun / "config.json").read_text())
    del was["seed"]
    (begun / "config.json").write_text(json.dumps(was))
    line = refused("--stack=stack.npz", "--workdir=out", "--strategies=BDa,Rand")
    assert "(seed was unset, is 0)" in line
    (begun / "config.json").write_text(json.dumps({str(n): n for n in range(40)}))
    line = refused("--stack=stack.npz", "--workdir=out", "--strategies=BDa,Rand")
    assert len(line) < 300 and " more)" in line


@pytest.mark.parametrize("text", ["", "{", "[]", "3", "\x00"])
def test_an_output_directory_with_a_damaged_configuration(refused, begun, text):
    (begun / "config.json").write_text(text)
    line = refused("--stack=stack.npz", "--workdir=out", "--strategies=BDa,Rand")
    assert line == "out: its config.json is unreadable; choose another --workdir"


def test_an_output_directory_with_foreign_files(refused, folder):
    (folder / "out").mkdir()
    (folder / "out" / "thesis.tex").touch()
    line = refused("--stack=stack.npz", "--workdir=out")
    assert line == "out: holds files of something else (thesis.tex); choose another --workdir"
    assert "holds files of something else" in refused("--stack=stack.npz", "--workdir=")


def test_an_output_directory_that_is_a_file(refused, folder):
    line = refused("--stack=stack.npz", "--workdir=names.csv")
    assert line == "names.csv: Not a directory; choose another --workdir"
    line = refused("--stack=stack.npz", "--workdir=names.csv/out")
    assert line == "names.csv/out: Not a directory; choose another --workdir"


def test_an_output_directory_that_cannot_be_made(refused, monkeypatch):
    def mkdir(*_, **__):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(pathlib.Path, "mkdir", mkdir)
    line = refused("--stack=stack.npz", "--workdir=out")
    assert line == "out: Permission denied; choose another --workdir"


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write anywhere")
def test_an_output_directory_that_is_not_writable(refused, folder):
    (folder / "out").mkdir(mode=0o500)
    line = refused("--stack=stack.npz", "--workdir=out")
    assert line == "out: Permission denied; choose another --workdir"


def test_an_output_directory_in_use(refused, begun):
    with folders.hold(begun):
        line = refused("--stack=stack.npz", "--workdir=out", "--strategies=BDa,Rand")
    assert line.startswith(f"out: another process is at work in it (process {os.getpid()} on ")


# A run that fails.


@pytest.fixture
def pixelwise(monkeypatch) -> None:
    """A network that compiles at once."""
    monkeypatch.setattr("al_jax.learner.config.DEFAULT", tiny.config())


def test_a_loss_that_is_not_finite(call, folder, pixelwise):
    status, _, err = call(
        "--stack=stack.npz",
        "--workdir=out",
        "--crop=32",
        "--initial_steps=9",
        "--learning_rate=1e30",
    )
    line = one_line(err)
    assert status == 2
    assert line.startswith("the loss is not finite at training step ")
    assert line.endswith(" with learning_rate=1e+30; lower it")
    assert sorted(os.listdir("out")) == ["checkpoints", "config.json"]


def test_a_disk_that_is_full(call, folder, pixelwise, monkeypatch):
    def full(*_, **__):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("orbax.checkpoint.CheckpointManager", full)
    status, _, err = call("--stack=stack.npz", "--workdir=out")
    assert status == 2
    place = "out/checkpoints/initial_partial_cross_entropy"
    assert one_line(err) == f"{place}: No space left on device; make room or repair it"


def test_weights_that_hold_nothing_or_do_not_fit(refused, folder):
    np.savez("empty.npz")
    says = refused("--stack=stack.npz", "--workdir=out", "--weights=empty.npz")
    assert "the weights have no 'block1_conv1_bias'" in says
    np.savez("wrong.npz", block1_conv1_bias=np.zeros(64))
    says = refused("--stack=stack.npz", "--workdir=out", "--weights=wrong.npz")
    assert "'block1_conv1_bias' of the weights has shape [64], the network [8]" in says


def test_the_convention_of_the_input_comes_with_the_weights(call, folder, monkeypatch):
    params = tiny.weights(NETWORKS["small"](4))
    layers = sorted(name for name in params if name.startswith("block"))
    npz = {f"{name}_{part}": a for name in layers for part, a in params[name].items()}
    np.savez("vgg.npz", **npz)
    arrays = {}
    for name in layers:
        key = f"features.{TORCHVISION[name]}"
        arrays[f"{key}.bias"] = np.asarray(params[name]["bias"])
        kernel = np.asarray(params[name]["kernel"]).transpose(3, 2, 0, 1)
        arrays[f"{key}.weight"] = np.ascontiguousarray(kernel)
    save_file(arrays, "vgg.safetensors")
    monkeypatch.setattr(simulate, "simulate_into", lambda *_: None)
    found = {}
    for file in ("vgg.npz", "vgg.safetensors", None):
        weights = [] if file is None else [f"--weights={file}"]
        assert call("--stack=stack.npz", f"--workdir=out_{file}", *weights)[0] == 0
        told = json.loads((folder / f"out_{file}" / "config.json").read_text())
        found[file] = told["training"]["convention"]
    assert found == {"vgg.npz": "caffe", "vgg.safetensors": "torchvision", None: "plain"}


def test_a_stack_without_an_outline(refused, folder):
    truth = np.repeat(np.arange(2, dtype=np.int16), 40 * 48).reshape(2, 40, 48)
    images = np.zeros((2, 40, 48), np.uint8)
    write_stack("flat.npz", make_stack(images, truth, ("background", "a")))
    assert "there is nothing to trace" in refused("--stack=flat.npz", "--workdir=out")


# The real command.


def in_shell(
    *arguments: str, module: str = "experiments.simulate"
) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", module, *arguments],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=120,
    )


def test_the_real_command_refuses_a_flag(tmp_path):
    done = in_shell(f"--workdir={tmp_path / 'out'}", "--crops=32")
    assert (done.returncode, done.stdout) == (2, "")
    assert "Unknown command line flag 'crops'. Did you mean: crop" in one_line(done.stderr)
    assert os.listdir(tmp_path) == []


@pytest.mark.slow
def test_the_real_command_refuses_a_stack(tmp_path):
    path = tmp_path / "stack.npz"
    write_stack(path, tiny.stack())
    path.write_bytes(path.read_bytes()[:-100])
    done = in_shell(f"--workdir={tmp_path / 'out'}", f"--stack={path}")
    assert (done.returncode, done.stdout) == (2, "")
    assert one_line(done.stderr).startswith(f"{path}: cannot be read as an npz file")
    assert os.listdir(tmp_path) == ["stack.npz"]


@pytest.mark.slow
def test_the_real_command_lists_its_flags():
    done = in_shell("--help")
    assert (done.returncode, done.stderr) == (0, "")
    assert "python -m experiments.simulate" in done.stdout
    for name in ("stack", "images", "strategies", "workdir", "[no]count_background"):
        assert f"  --{name}:" in done.stdout


@pytest.mark.slow
def test_the_home_folder_and_a_short_h(call, folder, monkeypatch):
    monkeypatch.setenv("HOME", str(folder))
    assert command.home("--workdir=~/out") == f"--workdir={folder}/out"
    assert command.home("--stem=a~b") == "--stem=a~b" and command.home("-v") == "-v"
    _, _, err = call("--stack=~/nope.npz", "--workdir=~/out")
    assert f"{folder}/nope.npz: " in one_line(err)
    done = in_shell("-h", module="experiments.bench.lengths")
    assert done.returncode == 0 and "--seed" in done.stdout


# What is printed.


@pytest.fixture
def stream():
    """Makes a guarded output of a path or a number."""
    opened: list[io.TextIOWrapper] = []

    def make(file: str | int, encoding: str = "utf-8") -> command.Output:
        opened.append(open(file, "w", encoding=encoding))  # noqa: SIM115
        return command._guarded(opened[-1])

    yield make
    for each in opened:
        each.close()


def test_what_cannot_be_printed_is_escaped(stream, tmp_path):
    out = stream(tmp_path / "out", "ascii")
    print("Schnitt_\u00e41 \udcff", file=out, flush=True)
    assert (tmp_path / "out").read_bytes() == b"Schnitt_\\xe41 \\udcff\n"


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="there is no /dev/full")
def test_a_full_disk_loses_the_line_alone(stream, monkeypatch, capsys):
    out = stream("/dev/full")
    monkeypatch.setattr(sys, "stdout", out)
    assert command.output_status() == 0
    for _ in range(3):
        print("a line", flush=True)
        print("more" * 9000)
    line = "note: the output cannot be written (No space left on device)\n"
    assert capsys.readouterr().err == line
    assert command.output_status() == 1
    monkeypatch.setattr(sys, "stderr", stream("/dev/full"))  # 2>&1
    command.complain("of no use")


def test_who_reads_no_more_ends_nothing(stream, monkeypatch, capsys):
    reader, writer = os.pipe()
    os.close(reader)
    monkeypatch.setattr(sys, "stdout", stream(writer))
    for _ in range(3):
        print("a line", flush=True)
    assert command.output_status() == 0 and capsys.readouterr().err == ""


def test_an_output_that_was_closed_is_nowhere(monkeypatch):
    for name in ("stdout", "stderr"):
        monkeypatch.setattr(sys, name, None)
    command.guard_output()
    print("nowhere")
    command.complain("nowhere")
    for closed in (sys.stdout, sys.stderr):
        assert closed.name == os.devnull
        closed.close()


SCRIPTS = [
    path for path in (ROOT / "experiments").rglob("*.py") if "command.run(" in path.read_text()
]


@pytest.mark.parametrize("path", SCRIPTS, ids=lambda path: f"{path.parent.name}/{path.name}")
def test_a_script_by_its_path_says_what_to_run(path):
    with pytest.raises(SystemExit) as stop:
        runpy.run_path(str(path), run_name="__main__")
    name = ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__main__")
    assert stop.value.code == f"error: run this instead: python -m {name}"
    assert importlib.util.find_spec(name) is not None


# The program of an installation.


@pytest.mark.parametrize("arguments", [(), ("-h",), ("--help",)])
def test_the_program_lists_its_commands(arguments):
    done = in_shell(*arguments, module="al_jax")
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.startswith("python -m al_jax COMMAND ")
    for name in ("annotate", "export", "simulate", "--version"):
        assert name in done.stdout


@pytest.mark.parametrize(
    ("arguments", "line"),
    [
        (["simulat"], "'simulat' is not one of annotate, export, simulate; see python -m al_jax"),
        (["--workdir=s", "annotate"], "'--workdir=s' is not one of annotate, export, simulate;"),
        *(
            pytest.param(*more, marks=pytest.mark.slow)
            for more in (
                (["export", "--workdir=s"], "run: python -m al_jax annotate init --workdir=s"),
                (["simulate", "--answer=a.png"], "Unknown command line flag 'answer'"),
                (["annotate", "sugest"], "'sugest' is not one of init, suggest, ingest, "),
                (["export", "status"], "'status' is not a flag; see --help"),
            )
        ),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_what_the_program_refuses(arguments, line):
    done = in_shell(*arguments, module="al_jax")
    assert (done.returncode, done.stdout) == (2, "")
    assert line in one_line(done.stderr)


@pytest.mark.parametrize(
    ("module", "arguments", "name"),
    [
        ("al_jax", ("annotate", "suggest", "--help"), "python -m al_jax annotate"),
        ("al_jax", ("simulate", "-h"), "python -m al_jax simulate"),
        ("experiments.annotate", ("--help",), "python -m experiments.annotate"),
    ],
)
@pytest.mark.slow
def test_help_names_the_program_that_was_called(module, arguments, name):
    done = in_shell(*arguments, module=module)
    assert (done.returncode, done.stderr) == (0, "")
    assert f"    {name}" in done.stdout and "  --workdir:" in done.stdout
    assert "al-jax" not in done.stdout and str(ROOT) not in done.stdout


def test_a_pipe_may_read_a_part_of_the_help():
    program = f"'{sys.executable}' -m experiments.simulate --help | head -n 1"
    done = subprocess.run(["sh", "-c", program], cwd=ROOT, capture_output=True, text=True)
    assert done.stdout.startswith("Simulates ") and done.stderr == ""


def test_what_stands_for_an_output_keeps_it_open(tmp_path):
    path = tmp_path / "out"
    output = command._guarded(open(path, "w"))  # noqa: SIM115
    gc.collect()
    print("line", file=output, flush=True)
    assert path.read_text() == "line\n"
