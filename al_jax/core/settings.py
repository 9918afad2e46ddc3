"""Settings whose bounds and help texts are part of their fields.

A bundle of settings is a frozen dataclass of such fields. Flags of the commands are made from them.
"""

import dataclasses
from collections.abc import Iterator, Sequence
from typing import Any


def setting(
    default: Any,
    text: str,
    low: float | None = None,
    high: float | None = None,
    *,
    choices: Sequence[str] = (),
    flag: bool = True,
) -> Any:
    """A field of a bundle: its default, its help text and its allowed values.

    Args:
      default: its value, unless another is given.
      text: the help, one sentence.
      low, high: least and largest value, both allowed.
      choices: the words that are allowed.
      flag: whether commands have a flag of that name.
    """
    metadata = {"text": text, "low": low, "high": high, "choices": tuple(choices), "flag": flag}
    return dataclasses.field(default=default, metadata=metadata)


def check_settings(bundle: Any) -> None:
    """Refuses values of fields that are not allowed.

    JAX's tracers, and what stands for a leaf in the structure of a tree, pass.

    Raises:
      ValueError: names the field, its value and what it may be.
    """
    for field in dataclasses.fields(bundle):
        value, about = getattr(bundle, field.name), field.metadata
        if about.get("choices") and value not in about["choices"]:
            raise ValueError(f"{field.name} '{value}' is not one of {', '.join(about['choices'])}")
        if not isinstance(value, int | float):
            continue
        low, high = about.get("low"), about.get("high")
        if low is not None and value < low:
            raise ValueError(f"{field.name} is {value:g}; it must be at least {low:g}")
        if high is not None and value > high:
            raise ValueError(f"{field.name} is {value:g}; it must be at most {high:g}")


def leaves(bundle: Any) -> Iterator[tuple[dataclasses.Field, Any]]:
    """The fields of a bundle and of those in it, with their values; objects count as values."""
    for field in dataclasses.fields(bundle):
        value = getattr(bundle, field.name)
        if dataclasses.is_dataclass(value) and not isinstance(value, type):
            yield from leaves(value)
        else:
            yield field, value
