"""The contract of preparing a case: without torch, which the children that prepare cases would wait for."""

from typing import Any, Protocol

import numpy as np

from kneeformer.config import CropConfiguration
from kneeformer.geometry.grid import Grid
from kneeformer.labels import LabelScheme
from kneeformer.sides import Side
from kneeformer.transforms.prepare import Prepared, prepare


class PreparedCase(Protocol):
    """A case as it is stored for training: image (channels, z, y, x), and labels (z, y, x) or None; and where
    the axes (z, y, x) lead in the patient, as "SPL".
    """

    @property
    def image(self) -> np.ndarray: ...

    @property
    def labels(self) -> np.ndarray | None: ...

    @property
    def orientation(self) -> str: ...


class Preparation(Protocol):
    """Preparation of a case for the networks: the same for training and for prediction.

    Args:
        image: (channels, z, y, x) on the native grid, or complex k-space, as in a Scan.
        labels: (z, y, x) on the same grid, or None.
        configuration: of the task.
        side: of the body, if known.
    """

    def __call__(
        self,
        image: np.ndarray,
        labels: np.ndarray | None,
        grid: Grid,
        configuration: Any,
        scheme: LabelScheme,
        side: Side | None = None,
    ) -> PreparedCase: ...


def prepare_image(
    image: np.ndarray,
    labels: np.ndarray | None,
    grid: Grid,
    configuration: CropConfiguration,
    scheme: LabelScheme,
    side: Side | None = None,
) -> Prepared:
    """The whole image on one spacing."""
    return prepare(image, labels, grid, configuration.preprocessing)
