"""The README's Python and commands are what the project has."""

import ast
import pathlib
import re

import jax

import al_jax
from experiments import (
    benchmark,
    command,
    lengths,
    report,
    scale,
    simulate,
    stack_flags,
    sweep,
    synthesise,
)

README = (pathlib.Path(__file__).parents[1] / "README.md").read_text()
BLOCKS = re.findall(r"```python\n(.*?)```", README, re.DOTALL)


def test_the_python_runs():
    simulated, by_hand = BLOCKS
    ast.parse(simulated)  # takes minutes; simulate has tests of its own
    space = {"al_jax": al_jax, "jax": jax, "stack": al_jax.load_default()}
    exec(by_hand, space)
    assert 0 < float(space["effort"]) < 1000
    assert bool(space["query"].found)


def test_every_public_name_and_flag_exists():
    table = README[README.index("| function | paper |") :].split("\n\n")[0]
    names = re.findall(r"\b([a-z_]{2,})\(", table) + re.findall(r"`([a-z_]+|[A-Z]+)`", table)
    assert len(names) > 20
    assert [name for name in names if not hasattr(al_jax, name)] == []
    known = {
        node.args[0].value
        for module in (
            benchmark,
            command,
            lengths,
            report,
            scale,
            simulate,
            stack_flags,
            sweep,
            synthesise,
        )
        for node in ast.walk(ast.parse(pathlib.Path(module.__file__).read_text()))
        if isinstance(node, ast.Call) and getattr(node.func, "attr", "").startswith("DEFINE_")
        if isinstance(node.args[0], ast.Constant)
    }
    flags = set(re.findall(r"--(?:no(?=deform))?([a-z_]+)", README)) - {
        "help",
        "xla_gpu_deterministic_ops",
        "xla_cpu_experimental_ynn_fusion_type",
    }
    assert flags <= known
