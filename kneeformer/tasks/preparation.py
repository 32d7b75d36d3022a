"""The contract of preparing a case. Needs no torch, which would slow the start of child processes."""

from typing import Any, Protocol

import numpy as np

from kneeformer.config import CropConfiguration
from kneeformer.geometry.aliases import Spacing
from kneeformer.labels import LabelScheme
from kneeformer.tasks.cases import Scan
from kneeformer.transforms.prepare import Prepared, prepare


class PreparedCase(Protocol):
    """A case as it is stored for training.

    Attributes:
        image: (channels, z, y, x).
        labels: (z, y, x), or None.
        orientation: where the axes (z, y, x) lead in the patient, such as "SPL".
        spacing: mm between voxels along (z, y, x).
        warnings: what may be wrong with it.
    """

    @property
    def image(self) -> np.ndarray: ...

    @property
    def labels(self) -> np.ndarray | None: ...

    @property
    def orientation(self) -> str: ...

    @property
    def spacing(self) -> Spacing: ...

    @property
    def warnings(self) -> tuple[str, ...]: ...


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
    """Prepare a whole image at the spacing of the configuration.

    Values of one structure are merged before they are resampled: each alone may cover less of a voxel than
    the background does.
    """
    labels = None if labels is None else scheme.simplified(labels)
    return prepare(scan.image, labels, scan.grid, configuration.preprocessing)
