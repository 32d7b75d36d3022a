"""The contract of preparing a case: without torch, which the children that prepare cases would wait for."""

from typing import Any, Protocol

import numpy as np

from kneeformer.config import CropConfiguration
from kneeformer.geometry.aliases import Spacing
from kneeformer.labels import LabelScheme
from kneeformer.tasks.cases import Scan
from kneeformer.transforms.prepare import Prepared, prepare


class PreparedCase(Protocol):
    """A case as it is stored for training: image (channels, z, y, x), and labels (z, y, x) or None; where the
    axes (z, y, x) lead in the patient, as "SPL"; and mm between voxels along them.
    """

    @property
    def image(self) -> np.ndarray: ...

    @property
    def labels(self) -> np.ndarray | None: ...

    @property
    def orientation(self) -> str: ...

    @property
    def spacing(self) -> Spacing: ...


class Preparation(Protocol):
    """Preparation of a case for the networks: the same for training and for prediction.

    Args:
        labels: (z, y, x) on the scan's grid, or None.
        configuration: of the task.
        scheme: meaning of the labels.
    """

    def __call__(
        self, scan: Scan, labels: np.ndarray | None, configuration: Any, scheme: LabelScheme
    ) -> PreparedCase: ...


def prepare_image(
    scan: Scan, labels: np.ndarray | None, configuration: CropConfiguration, scheme: LabelScheme
) -> Prepared:
    """The whole image on one spacing."""
    return prepare(scan.image, labels, scan.grid, configuration.preprocessing)
