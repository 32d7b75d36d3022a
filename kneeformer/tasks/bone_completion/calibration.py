"""Calibrated uncertainty: each training bone is left out once and completed, and the errors are compared.

The Gaussian models behind a standard deviation take the pose as known and the bone as a sample of the prior,
and so underestimate the error. By how much is measured where the truth is known: on the training bones.
"""

from collections.abc import Callable
from functools import partial

import numpy as np
import torch
from torch import Tensor

from kneeformer.geometry.grid import Grid
from kneeformer.labels import COMPLETE
from kneeformer.networks.positions import points_from_middle
from kneeformer.shape_models.both_sides import Origin
from kneeformer.shape_models.completion import CompletionModel
from kneeformer.shape_models.registration import DISTANCE
from kneeformer.shape_models.side_by_side import side_by_side
from kneeformer.tasks.bone_completion.batches import Posed
from kneeformer.tasks.bone_completion.fractures import hide, known_beside

_SHARES = (0.1, 0.4)  # of a bone that is hidden
_FEWEST = 3  # people: the spread of one other alone is unknown
_LEAST_MM = 0.05  # no deviation is smaller


@torch.no_grad()
def calibrate(
    network: CompletionModel,
    bones: list[Posed],
    origins: list[Origin],
    watch: Callable[[str, int, int], None] = lambda what, done, of: None,
) -> None:
    """Set `network.calibration`, by which deviations are multiplied, after its prior was fitted to `bones`.

    It is the standard deviation of (completed - true distance) / deviation at surface that a ball hides,
    each bone completed by the prior of other people's; root of the mean square over bones. It stays 1 where
    the prior gives no deviation, and with bones of fewer than three people.
    """
    if len({origin.person for origin in origins}) < _FEWEST or not network.prior.tells_deviation:
        return
    device = network.prior.mean.device
    registered = torch.stack([network.registration.registered(b.image.to(device), b.pose) for b in bones])

    @torch.no_grad()
    def errors_of(out: int) -> Tensor:
        others = network.unfitted()
        kept = [n for n, origin in enumerate(origins) if origin.person != origins[out].person]
        others.fit(registered[kept], [origins[n] for n in kept])
        return _standardised(others, bones[out], np.random.default_rng([21, out]))

    errors = side_by_side(errors_of, range(len(bones)), partial(watch, "Calibrating deviations"))
    squared = [e.square().mean() for e in errors if len(e)]
    if squared:
        network.calibration.copy_(torch.stack(squared).mean().sqrt())


def _standardised(network: CompletionModel, bone: Posed, rng: np.random.Generator) -> Tensor:
    """(voxels,) errors in deviations at the hidden surface."""
    image, distance = bone.image.to(network.prior.mean.device), bone.image[DISTANCE].numpy()
    grid = Grid(network.grid, network.spacing)
    hidden = hide(distance < 0, grid, rng, rng.uniform(*_SHARES)) == COMPLETE
    known = torch.from_numpy(known_beside(hidden, distance, network.spacing)).to(image.device)
    surface = torch.from_numpy(hidden & (np.abs(distance) < max(network.spacing) / 2)).flatten()
    points = points_from_middle(network.grid, network.spacing)[surface].to(image.device)
    _, found, deviation = network(image, known).at(points, network.spacing)
    assert deviation is not None
    errors: Tensor = (found - image[DISTANCE].flatten()[surface]) / deviation.clamp(min=_LEAST_MM)
    return errors
