"""What every measurement shares: clocks, turns, processes of their own, tables, records.

A question makes its cases, times them (`timed`, `in_turns`, `compiled`) or lets a process of its
own do it (`apart`), prints `table` rows as they come, and writes what it found by `write`: JSON
that says when, on what machine, with which versions and by which command it was measured.
"""

import csv
import datetime
import json
import pathlib
import resource
import shlex
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeVar

import jax
import numpy as np
from jax.stages import Compiled

from al_jax.commands.record import machine, own_source, versions
from al_jax.core.stack import InputError
from al_jax.files.atomic import write_atomic
from al_jax.files.reading import full_path
from al_jax.xla import compiler_options

Result = TypeVar("Result")


def timed(function: Callable[..., Result], *args: Any) -> tuple[Result, float]:
    """What a call returns, and the seconds until that is there."""
    began = time.perf_counter()
    result = jax.block_until_ready(function(*args))
    return result, time.perf_counter() - began


def in_turns(cases: Mapping[str, Callable[[], Result]], rounds: int) -> dict[str, list[Result]]:
    """What each case gives in each round.

    Every other round goes backwards, so that a drift of the machine cancels in ratios of two cases.
    """
    found: dict[str, list[Result]] = {name: [] for name in cases}
    for number in range(rounds):
        for name in [*cases][:: 1 if number % 2 else -1]:
            found[name].append(cases[name]())
    return found


def compiled(function: Callable, *args: Any) -> tuple[Compiled, dict[str, float]]:
    """A program for such arguments, and seconds to compile it anew and from the cache."""

    def compile_once() -> Compiled:
        return jax.jit(function).lower(*args).compile(compiler_options())

    seconds = {}
    for name in ("cold", "cached"):
        jax.clear_caches()
        program, taken = timed(compile_once)
        seconds[name] = round(taken, 3)
    return program, seconds


def spread(values: Sequence[float]) -> dict[str, float]:
    """Median, least and largest."""
    found = {"median": np.median(values), "min": min(values), "max": max(values)}
    return {name: round(float(value), 4) for name, value in found.items()}


def most_memory() -> float:
    """Most memory that this process has had so far, MiB."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def apart(question: str, case: str, *arguments: str) -> dict[str, Any]:
    """What a measurement prints as JSON, in a process whose memory is its own.

    Args:
      question: a module of `experiments.bench`.
      case: what the line of an error begins with.
      arguments: flags.

    Raises:
      InputError: it failed.
    """
    program = [sys.executable, "-m", f"experiments.bench.{question}", *arguments]
    return last_line(program, case, "its process was ended, for want of memory perhaps; try less")


def last_line(program: list[str], case: str, silent: str, hint: str = "") -> dict[str, Any]:
    """The last line that a program prints, JSON.

    Raises:
      InputError: it failed; its last words (`silent` without any) behind `case`, before `hint`.
    """
    ran = subprocess.run(program, capture_output=True, text=True)
    if ran.returncode:
        message = (ran.stderr.strip().splitlines() or [silent])[-1]
        raise InputError(f"{case}: {message.removeprefix('error: ')}{hint}")
    return json.loads(ran.stdout.strip().splitlines()[-1])


def table(columns: Mapping[str, str]) -> Callable[..., None]:
    """Prints the head of a table, and returns what prints a row of it.

    Args:
      columns: format of each column by its title. Strings are aligned by it; None is '-'.

    Example:
      >>> row = table({"seed": ">4", "effort": ">8.1f"})
      seed   effort
      >>> row(0, 12.34)
         0     12.3
    """

    own_source()  # of the code that measures, as it is before the first row

    def row(*cells: Any) -> None:
        texts = [_cell(*pair) for pair in zip(cells, columns.values(), strict=True)]
        print(" ".join(texts).rstrip(), flush=True)

    row(*columns)
    return row


def _cell(value: Any, spec: str) -> str:
    if isinstance(value, str) or value is None:
        return format("-" if value is None else value, spec.partition(".")[0])
    return format(value, spec)


def whole_numbers(text: str, count: int, flag: str) -> tuple[int, ...]:
    """'300x400' as numbers of at least 2.

    Raises:
      InputError: it is none of `count` such numbers.
    """
    parts = text.split("x")
    if len(parts) != count or not all(part.isdecimal() and int(part) > 1 for part in parts):
        shape = "x".join(["300"] * count)
        raise InputError(f"--{flag} has '{text}'; give numbers of at least 2, such as {shape}")
    return tuple(map(int, parts))


def make_folder(path: str, flag: str) -> pathlib.Path:
    """The folder that a flag names, made if it is missing.

    Raises:
      InputError: it cannot be made.
    """
    folder = pathlib.Path(path)
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InputError(f"{folder}: {error.strerror}; choose another --{flag}") from error
    return folder


def record(found: Mapping[str, Any]) -> dict[str, Any]:
    """What was found, with what it was measured on, when and by which command."""
    question = pathlib.Path(sys.argv[0]).stem
    return {
        "date": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        **own_source(),
        "machine": machine(),
        "versions": versions(),
        "command": shlex.join(["python", "-m", f"experiments.bench.{question}", *sys.argv[1:]]),
        **found,
    }


def write(path: str | pathlib.Path, found: Mapping[str, Any]) -> None:
    """A `record` as JSON, written whole."""
    write_atomic(path, (json.dumps(found, indent=2) + "\n").encode())


def check_out(path: str | None) -> None:
    """Raises InputError if --out could not be made, before anything is measured for it."""
    if path is not None and not full_path(path).absolute().parent.is_dir():
        raise InputError(f"--out={path}: its folder does not exist; make it")


def append(path: str | pathlib.Path, rows: Sequence[Mapping[str, Any]]) -> None:
    """Adds rows to a CSV, each with when, on what and from what source it was measured.

    Raises:
      InputError: the file has other columns, or cannot be written.
    """
    path, now = full_path(path), datetime.datetime.now(datetime.UTC)
    host = {name: machine()[name] for name in ("cores", "processor")}
    made = {"date": now.date().isoformat(), **own_source(), **host}
    head = [*rows[0], *made]
    try:
        with path.open("a+", newline="") as file:
            file.seek(0)
            before = next(csv.reader(file), head)
            if before != head:
                raise InputError(f"{path}: has other columns; name another file")
            file.seek(0, 2)
            writer = csv.DictWriter(file, head, lineterminator="\n")
            if not file.tell():
                writer.writeheader()
            writer.writerows(row | made for row in map(dict, rows))
    except OSError as error:
        raise InputError(f"{path}: {error.strerror}; name another file") from error
