"""A flag for every setting, made from the fields of `Config`; and from flags to a `Config`."""

import dataclasses
from collections.abc import Iterator
from typing import Any

from absl import flags

from al_jax.core.settings import leaves
from al_jax.core.stack import InputError
from al_jax.learner.config import DEFAULT, PRESETS, Annotator, Config, changed, preset, warm_start
from al_jax.model.augmentation import AUGMENTATIONS
from al_jax.model.networks import NETWORKS

FLAGS = flags.FLAGS
ANNOTATOR = tuple(
    field.name
    for field in dataclasses.fields(Annotator)
    if field.name not in ("start", "dice_over", "count_background")
)
"""Flags of how the truth answers."""
OF_WARM_START = ("start", "initial_steps", "query_learning_rate")
"""Settings that have other values where a network comes from prior stacks."""


def _fields() -> Iterator[tuple[dataclasses.Field, Any]]:
    return ((field, value) for field, value in leaves(DEFAULT) if field.metadata.get("flag"))


def define_flags() -> None:
    """A flag for each setting, and those of a run's randomness and weights."""
    flags.DEFINE_integer("seed", 0, "Seed of all randomness.", 0, 2**32 - 1)
    flags.DEFINE_string("weights", None, "VGG-16: npz, or safetensors of torchvision.")
    flags.DEFINE_list("from", None, "Prior stacks to start from: folders of runs, or files.")
    flags.DEFINE_list("plugin", [], "Modules or files whose import registers strategies and more.")
    flags.DEFINE_enum("preset", "default", PRESETS, "Gives the values of the flags below.")
    # Not enums: plugins, which are named by a flag, may add to them. Checked by `read_config`.
    flags.DEFINE_string("network", None, f"Any of {', '.join(NETWORKS)}, or a plugin's.")
    flags.DEFINE_string("augmentation", None, f"Any of {', '.join(AUGMENTATIONS)}, or a plugin's.")
    for field, value in _fields():
        about = field.metadata
        low, high, text = about["low"], about["high"], about["text"]
        if about["choices"]:
            flags.DEFINE_enum(field.name, None, about["choices"], text)
        elif isinstance(value, bool):
            flags.DEFINE_bool(field.name, None, text)
        elif isinstance(value, int):
            flags.DEFINE_integer(field.name, None, text, low, high)
        else:
            flags.DEFINE_float(field.name, None, text, low, high)


def given(values: flags.FlagValues = FLAGS) -> dict[str, Any]:
    """The settings that flags give a value, by name."""
    names = ("network", "augmentation", *(field.name for field, _ in _fields()))
    return {n: values[n].value for n in names if n in values and values[n].value is not None}


def read_config(
    convention: str,
    num_sections: int,
    values: flags.FlagValues = FLAGS,
    *,
    warm: bool = False,
) -> Config:
    """The preset, with the values of those flags that are given.

    Args:
      convention: of the network's input, which comes with its weights.
      num_sections: of the stack.
      values: the flags.
      warm: the network comes from prior stacks. Where --from names stacks that do not fit, the
        flags of `OF_WARM_START` are ignored.

    Raises:
      InputError: the values do not go together.
    """
    config, found = preset(values.preset, num_sections), given(values)
    if values["from"].value and not warm:
        found = {name: value for name, value in found.items() if name not in OF_WARM_START}
    try:
        if warm and values.start != "central":
            optimiser = {k: v for k, v in found.items() if k == "optimiser"}
            config = warm_start(changed(config, optimiser))
        config = changed(config, found | {"convention": convention})
    except ValueError as error:
        raise InputError(str(error)) from error
    if warm and config.query.length != "crack":
        raise InputError("--from tells outlines in cracks; leave --length out")
    if not config.training.initial_steps and not warm:
        raise InputError("--initial_steps=0 leaves the network untrained; give --from as well")
    return config
