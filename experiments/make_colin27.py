"""Makes the stack that ships with al_jax from the Colin27 head and the AAL parcellation.

    python -m experiments.make_colin27 --source=../shared/data/colin27 \
        --output=al_jax/data/colin27.npz

Takes half a minute on one core and gives the same bytes every time. `al_jax/data/PROVENANCE.md`
tells where the two volumes come from and how the classes are made.

AAL marks regions, not tissue: it has no white matter, its cortical regions run across sulci and
into white matter, and the outlines of its nuclei are blocky. So each voxel takes the class of least
energy, which adds up how far the T1 intensity is from what the class looks like, how far the voxel
is outside the AAL region of that class, and how many of its neighbours disagree.
"""

if not __package__:  # run by its path
    raise SystemExit("error: run this instead: python -m experiments.make_colin27")

import pathlib

import numpy as np
from absl import flags
from scipy import ndimage

from al_jax.commands import command
from al_jax.core.stack import Stack, make_stack
from al_jax.files.reading import reading
from al_jax.files.slicing import trim
from al_jax.files.stacks import write_stack
from al_jax.files.volumes import load_volume

_SOURCE = flags.DEFINE_string(
    "source", None, "Folder that holds t1.nii.gz, aal.nii.gz and aal.txt.", required=True
)
_OUTPUT = flags.DEFINE_string("output", None, "The npz to write.", required=True)

SECTIONS = 24
NAMES = (
    "background",
    "cortex",
    "white_matter",
    "thalamus",
    "caudate",
    "putamen",
    "pallidum",
    "hippocampus",
    "amygdala",
)
BACKGROUND, CORTEX, WHITE = 0, 1, 2
NUCLEI = {name.capitalize(): NAMES.index(name) for name in NAMES[3:]}

# T1 intensity of each class: mean and spread. Background (fluid) may be darker than its mean and
# white matter brighter at no cost.
INTENSITY = {
    "background": (28, 16),
    "cortex": (82, 12),
    "white_matter": (116, 12),
    "thalamus": (98, 9),
    "caudate": (86, 9),
    "putamen": (93, 8),
    "pallidum": (103, 9),
    "hippocampus": (82, 12),
    "amygdala": (84, 15),
}
LOCATION = {"cortex": 0.3, "hippocampus": 0.7, "amygdala": 1.2, "pallidum": 0.9}
LOCATION_ELSE = 0.6  # energy per mm outside the AAL region of a class
REACH = {"cortex": 4.0, "caudate": 1.5, "amygdala": 1.5}
REACH_ELSE = 2.5  # mm that a class may extend beyond its AAL region
DEPTH = 3.0  # mm beyond which deeper inside a nucleus is not likelier
CLOSING, CLOSING_MIDDLE = 6.0, 12.0  # mm, radii that join the cerebral regions into one mask
RIM = 1.0  # mm around that mask that the images show
SMOOTHNESS, ROUNDS = 3.0, 10  # weight of the neighbours, mean-field rounds
SMALLEST_VOLUME, SMALLEST_PIECE = 60, 20  # voxels, pixels of a section; smaller ones are given away
SMALLEST_NUCLEUS = 40  # the same for a nucleus on a section
SLAB = 8  # mm of head before and behind the nuclei that take part


def read_regions(source: pathlib.Path) -> tuple[np.ndarray, np.ndarray]:
    """Reads T1 intensities [X, Y, Z] float32 and the classes of the AAL regions [X, Y, Z].

    Classes here are those of `NAMES` with every cortical region as cortex and no white matter.
    """
    t1, aal = (load_volume(source / name).voxels for name in ("t1.nii.gz", "aal.nii.gz"))
    with reading(source / "aal.txt", "a text file"):
        table = (source / "aal.txt").read_text()
    lookup = np.zeros(256, np.int64)
    for line in table.splitlines():
        if not line.strip():
            continue
        index, name, _ = line.split()
        region = name.removesuffix("_L").removesuffix("_R")
        if not region.startswith(("Cerebelum", "Vermis")):
            lookup[int(index)] = NUCLEI.get(region, CORTEX)
    regions = lookup[aal]
    return t1.astype(np.float32), regions


def outside_distance(region: np.ndarray) -> np.ndarray:
    """Signed distance in mm to the outline of a region, negative inside."""
    outside = np.asarray(ndimage.distance_transform_edt(~region))
    inside = np.asarray(ndimage.distance_transform_edt(region))
    return np.where(region, 0.5 - inside, outside - 0.5)


def closed(region: np.ndarray, radius: float) -> np.ndarray:
    """Morphological closing with a ball of `radius` mm."""
    return outside_distance(outside_distance(region) > radius) > radius


def cerebrum(regions: np.ndarray) -> np.ndarray:
    """The closed union of the cerebral regions, holes of its coronal sections filled, smoothed.

    Around the third ventricle, which opens downwards, the closing is wider.
    """
    union = regions > 0
    mask = closed(union, CLOSING)
    thalamus = np.argwhere(regions == NAMES.index("thalamus"))
    (left, _, low), (right, _, _) = thalamus.min(0), thalamus.max(0)
    middle = (slice(left, right + 1), slice(None), slice(low, None))
    mask[middle] |= closed(union, CLOSING_MIDDLE)[middle]
    for section in range(mask.shape[1]):
        mask[:, section] = ndimage.binary_fill_holes(mask[:, section])
    return (ndimage.gaussian_filter(mask.astype(np.float32), 1.5) > 0.5) | union


def energies(t1: np.ndarray, regions: np.ndarray, mask: np.ndarray) -> np.ndarray:
    """Energy of every class without neighbours, [C, X, Y, Z]; infinite where it may not be."""
    energy = np.empty((len(NAMES), *t1.shape), np.float32)
    for index, name in enumerate(NAMES):
        mean, spread = INTENSITY[name]
        away = (t1 - mean) / spread
        if index == BACKGROUND:
            away = away.clip(min=0)
        elif index == WHITE:
            away = away.clip(max=0)
        energy[index] = 0.5 * away**2
        if index in (BACKGROUND, WHITE):
            continue
        distance = outside_distance(regions == index)
        # Inside an AAL cortical region intensity alone tells cortex from white matter.
        near = distance.clip(min=0 if index == CORTEX else -DEPTH)
        energy[index] += LOCATION.get(name, LOCATION_ELSE) * near
        energy[index][distance > REACH.get(name, REACH_ELSE)] = np.inf
    energy[1:, ~mask] = np.inf
    energy[BACKGROUND][~mask] = 0
    return energy


def smooth_classes(energy: np.ndarray) -> np.ndarray:
    """Mean-field minimum of the energy plus a price for neighbours of other classes, [X, Y, Z]."""
    with np.errstate(over="ignore"):
        belief = np.exp(energy.min(0) - energy)
    for _ in range(ROUNDS):
        belief /= belief.sum(0)
        around = np.stack([ndimage.gaussian_filter(b, 1.0) for b in belief])
        total = energy - 2 * SMOOTHNESS * around
        belief = np.exp(total.min(0) - total)
    return belief.argmax(0)


def give_away(classes: np.ndarray, lost: np.ndarray) -> np.ndarray:
    """Gives the pixels of `lost` to the nearest class around them."""
    if not lost.any():
        return classes
    nearest = ndimage.distance_transform_edt(lost, return_distances=False, return_indices=True)
    return classes[tuple(np.asarray(nearest, np.int64))]


def label_pieces(region: np.ndarray) -> np.ndarray:
    """Numbers the pieces of a region from 1, pieces being joined by face neighbours."""
    pieces = np.zeros(region.shape, np.int32)
    ndimage.label(region, output=pieces)
    return pieces


def drop_small(classes: np.ndarray, smallest: int, smallest_nucleus: int) -> np.ndarray:
    """Gives pieces (of face neighbours) smaller than so many pixels or voxels away."""
    lost = np.zeros(classes.shape, bool)
    for index in range(len(NAMES)):
        pieces = label_pieces(classes == index)
        sizes = np.bincount(pieces.ravel())
        small = sizes < (smallest_nucleus if index > WHITE else smallest)
        small[0] = False
        lost |= small[pieces]
    return give_away(classes, lost)


def keep_largest(classes: np.ndarray, index: int) -> np.ndarray:
    """Gives all but the largest piece of one class away."""
    pieces = label_pieces(classes == index)
    sizes = np.bincount(pieces.ravel())
    sizes[0] = 0
    return give_away(classes, (pieces > 0) & (pieces != sizes.argmax()))


def make(source: pathlib.Path) -> Stack:
    """Makes the stack from the folder that holds the two volumes."""
    t1, regions = read_regions(source)
    mask = cerebrum(regions)
    rows = np.flatnonzero((regions > CORTEX).any((0, 2)))
    slab = (slice(None), slice(rows[0] - SLAB, rows[-1] + SLAB + 1))
    t1, regions, mask = t1[slab], regions[slab], mask[slab]

    classes = smooth_classes(energies(t1, regions, mask))
    classes = drop_small(classes, SMALLEST_VOLUME, SMALLEST_VOLUME)
    # To sections [N, H, W], superior up.
    classes = keep_largest(classes, WHITE).transpose(1, 2, 0)[:, ::-1]
    classes = np.stack([drop_small(c, SMALLEST_PIECE, SMALLEST_NUCLEUS) for c in classes])
    shown = np.flatnonzero((classes > WHITE).any((1, 2)))
    chosen = np.rint(np.linspace(shown[0], shown[-1], SECTIONS)).astype(int)

    brain = outside_distance(mask) <= RIM
    scaled = np.rint((t1 * (255 / np.percentile(t1[mask], 99.9))).clip(0, 255))
    images = np.where(brain, scaled, 0).astype(np.uint8).transpose(1, 2, 0)[:, ::-1]
    images, truth, _ = trim(images[chosen], classes[chosen])
    return make_stack(images, truth, NAMES)


def main() -> None:
    """Reads the flags and writes the stack."""
    write_stack(_OUTPUT.value, make(pathlib.Path(_SOURCE.value)))


if __name__ == "__main__":
    command.run(main)
