"""`import al_jax` is quick: what a name needs is loaded when the name is used."""

import subprocess
import sys

import pytest

import al_jax

READERS = ("nibabel", "nrrd", "PIL", "tifffile", "imagecodecs", "skimage", "safetensors")
HEAVY = (*READERS, "scipy", "matplotlib", "orbax", "flax", "optax", "jax")


def loaded_by(program: str) -> set[str]:
    """The packages that a fresh Python has loaded after a program."""
    program += "; import sys; print(*{name.partition('.')[0] for name in sys.modules})"
    said = subprocess.run(
        [sys.executable, "-c", program], check=True, capture_output=True, text=True
    )
    return set(said.stdout.split())


@pytest.mark.parametrize(
    ("program", "absent"),
    [
        ("import al_jax", HEAVY),
        ("import al_jax; al_jax.suggest, al_jax.make_stack", (*READERS, "orbax", "optax")),
        ("import al_jax; al_jax.simulate, al_jax.update", (*READERS, "orbax", "matplotlib")),
    ],
)
def test_what_is_not_loaded(program, absent):
    assert not loaded_by(program) & set(absent)


def test_every_public_name_resolves_in_a_fresh_python():
    loaded_by("import al_jax; [getattr(al_jax, name) for name in al_jax.__all__]")
    assert al_jax.__all__ == sorted(al_jax.__all__) == dir(al_jax)


def test_an_unknown_name_is_an_attribute_error():
    with pytest.raises(AttributeError):
        al_jax.no_such_name  # noqa: B018
