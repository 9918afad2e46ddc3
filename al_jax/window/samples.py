"""Sessions to try: sample data of the plugin, whose truth can answer."""

import atexit
import pathlib
import shutil
import tempfile
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

from al_jax.core.stack import Stack, parted
from al_jax.core.state import true_ranges
from al_jax.files.stacks import load_default
from al_jax.session import Session, Settings, read_session
from al_jax.session.beginning import begin
from al_jax.session.demonstration import answer_examples
from al_jax.simulation.serial_sections import make_serial_sections
from al_jax.window.layers import pixels_of

LayerData = tuple[np.ndarray, dict[str, Any], str]


class Sample(NamedTuple):
    """A stack, and what of it is answered when its session begins."""

    title: str
    stack: Callable[[], Stack]
    first: Callable[[Session], int] | None = None


SAMPLES = {
    "shipped": Sample("Brain, 24 sections of MRI", load_default),
    "serial": Sample("Made-up animal, 24 stained sections", make_serial_sections),
    "answered": Sample("Brain, first examples answered", load_default, answer_examples),
}


def make_sample(name: str) -> pathlib.Path:
    """The session of a sample, in a folder that is there until the program ends."""
    sample, settings = SAMPLES[name], Settings()
    place = pathlib.Path(tempfile.mkdtemp(prefix=f"al_jax_{name}_"))
    atexit.register(shutil.rmtree, place, ignore_errors=True)
    images, truth = parted(sample.stack())
    in_range = true_ranges(images, truth, settings.config.query.margin)
    begin(place / "session", images, in_range, settings, truth=truth, first=sample.first)
    return place / "session"


def sections_of(name: str) -> LayerData:
    """The sections of a sample, as a layer of the whole stack."""
    images, _ = parted(SAMPLES[name].stack())
    pixels, about = pixels_of(images.images)
    return pixels, {"name": SAMPLES[name].title, **about}, "image"


def labels_of(name: str) -> LayerData:
    """What is labelled of a sample: all of its truth, or what is answered; 0 is what is not."""
    sample = SAMPLES[name]
    images, labels = parted(sample.stack())
    if sample.first is not None:
        labels = read_session(make_sample(name)).labels()
    features = {"name": ["not labelled", *images.names]}
    return labels + 1, {"name": f"{sample.title}: labels", "features": features}, "labels"
