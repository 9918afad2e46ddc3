"""What other sections show, in the place of one."""

from collections.abc import Callable

import numpy as np

from al_jax.core import answers
from al_jax.core.answers import whole
from al_jax.core.stack import Images
from al_jax.learner import neighbours
from al_jax.session.annotations import Annotations
from al_jax.session.network import Network
from al_jax.session.trainer import Trainer


class Beside:
    """The part of a `Session` that tells what is on another section."""

    images: Images
    _trainer: Trainer
    _newest: Callable[[], tuple[Annotations, Network]]

    def seen_beside(self, section: int, other: int) -> tuple[np.ndarray, np.ndarray]:
        """Pixels and annotated classes of another section, in the place of a section.

        They are carried along the registration of the sections once the session has one; until
        then, and in a session without, they are as they are.

        Returns:
          [H, W, K], and [H, W] int16, `UNLABELLED` where nothing was traced.
        """
        for number in (section, other):
            answers.check_pair(self.images, number, 0)
        section, other = whole(section, "section"), whole(other, "section")
        pixels = np.asarray(self.images.images[other])
        labels = self._newest()[0].labels_of(other, self.images)
        if (fields := self._trainer.found_fields) is None:
            return pixels, labels
        rows, columns = neighbours.nearest_places(labels.shape, fields, other, section)
        return pixels[rows, columns], labels[rows, columns]
