"""At the size of an atlas: what a program would hold, read off its trace; nothing is run."""

import functools
import math
from collections.abc import Iterator

import jax
import jax.numpy as jnp
import pytest
import tiny

from al_jax.core import state
from al_jax.core.evidence import Hindsight, make_evidence
from al_jax.core.stack import Stack
from al_jax.core.strategies import STRATEGIES, BDa, shares_program, suggest
from al_jax.learner.config import DEFAULT as CONFIG
from al_jax.learner.config import model_of
from al_jax.model.networks import STRIDE
from al_jax.model.training import init_train_state
from al_jax.simulation import annotator, loop
from al_jax.simulation.prepare import prepare
from al_jax.simulation.task import make_task

COUNT, HEIGHT, WIDTH, CLASSES = 5000, 300, 400, 266
PIXELS = COUNT * HEIGHT * WIDTH
Shape = jax.ShapeDtypeStruct


def _steps(jaxpr) -> Iterator:
    """All operations, those in loops and branches too."""
    for step in jaxpr.eqns:
        yield step
        for value in step.params.values():
            for part in value if isinstance(value, list | tuple) else [value]:
                if hasattr(part, "jaxpr"):
                    yield from _steps(part.jaxpr)
                elif hasattr(part, "eqns"):
                    yield from _steps(part)


@pytest.fixture(scope="module")
def begun() -> tuple:
    """Shapes of a run before its first query, and of its task."""
    stack = Stack(
        images=Shape((COUNT, HEIGHT, WIDTH, 1), jnp.uint8),
        inside=Shape((COUNT, HEIGHT, WIDTH), bool),
        truth=Shape((COUNT, HEIGHT, WIDTH), jnp.int16),
        names=tuple(map(str, range(CLASSES))),
        sections=(),
    )
    key = Shape((), jax.random.key(0).dtype)

    def begin(key, stack):
        task = make_task(stack, CONFIG)
        state = annotator.start(key, task, CONFIG)
        network = init_train_state(key, model_of(CONFIG, CLASSES))
        return loop.begin(network, state, task, CONFIG, STRATEGIES["HBDa"])[0], task

    return jax.eval_shape(begin, key, stack)


@pytest.mark.parametrize(
    "strategy", ["BDa", *(pytest.param(s, marks=pytest.mark.slow) for s in ("HBDa", "H_dropout"))]
)
def test_queries_hold_one_section_beside_the_stack(begun, strategy):
    queries = functools.partial(
        loop.run_queries,
        config=CONFIG,
        strategies=shares_program(STRATEGIES[strategy]),
        which=0,
        count=4,
        target_dice=0.9,
        max_effort=0.9,
    )
    run, task = begun
    steps = list(_steps(jax.make_jaxpr(queries)(run, Shape((COUNT, CLASSES), float), task).jaxpr))
    assert len(steps) > 1000
    made = [
        (step.primitive.name, math.prod(value.aval.shape), value.aval.dtype)
        for step in steps
        for value in step.outvars
        if hasattr(value.aval, "shape")
    ]
    # Of the stack's size there are the labels alone, and of those one section is written.
    large = [(name, dtype) for name, size, dtype in made if size >= PIXELS / 2]
    assert sorted(large) == [(name, jnp.int16) for name in ("scan", "scatter")]
    # Class probabilities exist for one section, padded for the network, and nothing is larger.
    padded = math.prod(size + -size % STRIDE for size in (HEIGHT, WIDTH))
    assert max(size for _, size, _ in made if size < PIXELS / 2) <= padded * CLASSES


def test_a_suggestion_is_linear_in_the_sections(begun):
    run, _ = begun
    uncertainty = priority = Shape((COUNT, CLASSES), jnp.float32)
    for strategy in STRATEGIES.values():
        jaxpr = jax.make_jaxpr(
            lambda state, dice, uncertainty, priority, strategy=strategy: suggest(
                state,
                make_evidence(
                    state,
                    dice,
                    uncertainty=uncertainty,
                    priority=priority,
                    hindsight=Hindsight(dice=uncertainty, remaining=priority),
                ),
                strategy,
            )
        )(run.state, run.learner.dice, uncertainty, priority)
        sizes = [
            math.prod(value.aval.shape)
            for step in _steps(jaxpr.jaxpr)
            for value in step.outvars
            if hasattr(value.aval, "shape")
        ]
        assert COUNT * CLASSES in sizes and max(sizes) <= COUNT * CLASSES


def test_an_answer_writes_one_section_where_it_lies():
    # Read off the compiled program: with the state donated it holds no second copy of the labels.
    count, height, width, classes = 500, 60, 80, 12
    stack = (count, height, width)
    inside = Shape(stack, bool)
    key, in_range = Shape((), jax.random.key(0).dtype), Shape((count, classes), bool)
    begun = jax.eval_shape(state.init_state, key, inside, in_range)
    number, mask = Shape((), jnp.int32), Shape((height, width), bool)
    program = jax.jit(state.annotate, donate_argnums=0).lower(begun, number, number, mask, mask)
    labels = math.prod(stack) * 2
    assert program.compile().memory_analysis().temp_size_in_bytes < labels / 4


@pytest.mark.slow
def test_queries_write_one_section_where_it_lies():
    # The same of the simulator's loop, by the copies of all labels that XLA puts in.
    config = tiny.config()
    _, task, begun = prepare(jax.random.key(0), tiny.stack(), config)
    network = init_train_state(jax.random.key(0), model_of(config, tiny.CLASSES))
    run = loop.begin(network, begun, task, config, BDa)[0]
    queries = functools.partial(
        loop.run_queries,
        config=config,
        strategies=(BDa,),
        which=0,
        count=2,
        target_dice=0.9,
        max_effort=0.9,
    )
    priority = jnp.zeros(begun.annotated.shape)
    program = jax.jit(queries, donate_argnums=0).lower(run, priority, task).compile().as_text()
    shape = ",".join(map(str, begun.labels.shape))
    made = [line for line in program.splitlines() if f" = s16[{shape}]" in line]
    assert made and not [line for line in made if " copy(" in line]


def test_a_start_takes_no_more_than_the_stack_and_its_labels():
    count, height, width, classes = 64, 96, 128, 12
    stack = Stack(
        images=Shape((count, height, width, 1), jnp.uint8),
        inside=Shape((count, height, width), bool),
        truth=Shape((count, height, width), jnp.int16),
        names=tuple(map(str, range(classes))),
        sections=(),
    )
    measure = functools.partial(make_task, config=CONFIG)
    task, key = jax.eval_shape(measure, stack), Shape((), jax.random.key(0).dtype)
    start = functools.partial(annotator.start, config=CONFIG)
    pixels = count * height * width
    for program, new in (
        (jax.jit(measure, donate_argnums=0).lower(stack), 0),
        (jax.jit(start).lower(key, task), 2 * pixels),  # the labels
    ):
        memory = program.compile().memory_analysis()
        own = memory.output_size_in_bytes - memory.alias_size_in_bytes
        assert memory.temp_size_in_bytes < pixels
        assert new <= own < new + 0.1 * pixels
