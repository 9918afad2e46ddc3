"""Registration of a section with the next: where each shows what the other shows.

An affine transform by mutual information (Mattes et al. 2003), then symmetric demons (Vercauteren
et al. 2009), both of SimpleITK, on one thread, so that equal sections give equal fields.
"""

from typing import Any, NamedTuple

import numpy as np
from scipy import ndimage

VERSION = 2  # of the results, for what is kept of them

COARSE = 8.0
"""Detail is what a Gaussian of this standard deviation takes away, pixels."""


class Registered(NamedTuple):
    """A pair of sections.

    Attributes:
      forward: [h, w, 2] float32, pixels (row, column): the first section shows at x what the second
        shows at x + forward(x).
      backward: likewise from the second to the first.
      explained: the share of the variance of each image's detail that the other explains where it
        is brought onto it, the mean of both ways, 0 to 1. Shade counts nothing, and shape by its
        edge alone: unrelated textures within one outline come to 0.3 to 0.7, against 0.9 and more
        by the correlation of the images. Noise counts as what is not explained.
    """

    forward: np.ndarray
    backward: np.ndarray
    explained: float


def register(first: np.ndarray, second: np.ndarray) -> Registered:
    """Registers two images of one shape, [h, w] float32 in [0, 1]; images of one grey do not move.

    Where the registered images are less alike than the two as they lie, they stay as they lie.
    """
    import SimpleITK as itk  # by those alone who register

    still = np.zeros((*first.shape, 2), np.float32)
    before = correlation(first, second)
    as_they_lie = Registered(still, still, explained(first, second))
    if min(first.shape) < 8 or min(np.ptp(first), np.ptp(second)) == 0:
        return as_they_lie
    transform = _affine(itk, first, second)
    forward = _with_demons(itk, first, second, transform)
    backward = _with_demons(itk, second, first, transform.GetInverse())
    moved = (first, _sample(second, forward)), (second, _sample(first, backward))
    if not min(correlation(*pair) for pair in moved) > before:
        return as_they_lie
    return Registered(forward, backward, float(np.mean([explained(*pair) for pair in moved])))


def explained(a: np.ndarray, b: np.ndarray) -> float:
    """The squared correlation of the detail of two images; 0 where that is negative."""
    detail = [image - ndimage.gaussian_filter(image, COARSE) for image in (a, b)]
    return max(correlation(*detail), 0.0) ** 2


def correlation(a: np.ndarray, b: np.ndarray) -> float:
    """Of two images; 0 where one has one grey alone."""
    a, b = a - a.mean(), b - b.mean()
    size = np.sqrt((a * a).sum() * (b * b).sum())
    return float((a * b).sum() / size) if size > 0 else 0.0


def _affine(itk: Any, fixed: np.ndarray, moving: np.ndarray) -> Any:
    """From points of `fixed` to points of `moving`; it begins with moments, if these are right."""
    images = itk.GetImageFromArray(fixed), itk.GetImageFromArray(moving)
    moments = itk.CenteredTransformInitializerFilter.MOMENTS
    start = itk.AffineTransform(2)
    start.SetCenter([(size - 1) / 2 for size in images[0].GetSize()])
    other = itk.CenteredTransformInitializer(*images, itk.AffineTransform(2), moments)
    moved = _sample(moving, _displacement(itk, other, fixed.shape))
    if correlation(fixed, moved) > correlation(fixed, moving):
        start = itk.AffineTransform(other)
    method = itk.ImageRegistrationMethod()
    method.SetNumberOfThreads(1)
    method.SetMetricAsMattesMutualInformation(32)
    method.SetMetricSamplingStrategy(method.REGULAR)
    method.SetMetricSamplingPercentage(0.5, 1)
    method.SetInterpolator(itk.sitkLinear)
    method.SetOptimizerAsRegularStepGradientDescent(1.0, 1e-3, 60, 0.5)
    method.SetOptimizerScalesFromPhysicalShift()
    method.SetShrinkFactorsPerLevel([2, 1])
    method.SetSmoothingSigmasPerLevel([1.0, 0.5])
    method.SetInitialTransform(start, inPlace=True)
    try:
        method.Execute(*images)
    except RuntimeError:  # all samples have left the image
        return itk.AffineTransform(2)
    return start


def _displacement(itk: Any, transform: Any, shape: tuple[int, ...]) -> np.ndarray:
    size = shape[::-1]
    field = itk.TransformToDisplacementField(transform, itk.sitkVectorFloat64, size)
    return itk.GetArrayFromImage(field)[..., ::-1]


def _with_demons(itk: Any, fixed: np.ndarray, moving: np.ndarray, transform: Any) -> np.ndarray:
    """The displacement [h, w, 2] from `fixed` to `moving` by a transform and demons behind it."""
    field = _displacement(itk, transform, fixed.shape)
    more = _demons(itk, fixed, _sample(moving, field))
    return (more + np.stack([_sample(field[..., k], more) for k in (0, 1)], -1)).astype(np.float32)


def _demons(itk: Any, fixed: np.ndarray, moving: np.ndarray) -> np.ndarray:
    """The displacement [h, w, 2] by symmetric demons at three resolutions."""
    images, field = (itk.GetImageFromArray(fixed), itk.GetImageFromArray(moving)), None
    for factor, iterations in ((4, 30), (2, 30), (1, 20)):
        if min(fixed.shape) // factor < 8:
            continue
        small = [
            itk.Shrink(itk.SmoothingRecursiveGaussian(x, factor / 2), [factor, factor])
            if factor > 1
            else x
            for x in images
        ]
        demons = itk.FastSymmetricForcesDemonsRegistrationFilter()
        demons.SetNumberOfThreads(1)
        demons.SetNumberOfIterations(iterations)
        demons.SetSmoothDisplacementField(True)
        demons.SetStandardDeviations(1.5)
        if field is None:
            field = demons.Execute(*small)
        else:
            placed = itk.Resample(
                field, small[0], itk.Transform(), itk.sitkLinear, 0.0, itk.sitkVectorFloat64
            )
            field = demons.Execute(*small, placed)
    return itk.GetArrayFromImage(field)[..., ::-1]


def _sample(image: np.ndarray, displacement: np.ndarray) -> np.ndarray:
    """`image` [h, w] at x + displacement(x), bilinear; beyond its border, that of the border."""
    points = np.indices(image.shape) + np.moveaxis(displacement, -1, 0)
    return ndimage.map_coordinates(image, points, order=1, mode="nearest")
