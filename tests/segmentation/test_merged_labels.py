"""Values that dataset.json merges are one structure before they are resampled."""

import numpy as np
from prepared import plan

from kneeformer.geometry.grid import Grid
from kneeformer.labels import LabelScheme
from kneeformer.tasks.cases import Scan
from kneeformer.tasks.preparation import prepare_image


def test_two_layers_of_one_cartilage_are_resampled_as_one() -> None:
    """Of three voxels that become one, the layers have 3/9 and 2/9, the background has 4/9."""
    configuration = plan().configuration("3d_vit")
    thin = np.zeros((4, 8, 9), np.uint8)
    thin[..., 4], thin[..., 5] = 2, 3
    image = np.random.default_rng(0).normal(100, 10, (1, 4, 8, 9))
    scan = Scan(image, Grid((4, 8, 9), (1.0, 1.0, 1 / 3)))
    scheme = LabelScheme.from_json({"background": 0, "bone": 1, "cartilage": [2, 3]})
    prepared = prepare_image(scan, thin, configuration, scheme)
    assert prepared.labels is not None
    assert prepared.labels[0, 0].tolist() == [0, 2, 0]
