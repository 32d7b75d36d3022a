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
from kneeformer.geometry.mesh import surface_of
from kneeformer.labels import COMPLETE
from kneeformer.networks.positions import points_from_middle
from kneeformer.shape_models.both_sides import Origin
from kneeformer.shape_models.completion import CompletionModel
from kneeformer.shape_models.registration import DISTANCE
from kneeformer.shape_models.side_by_side import side_by_side
from kneeformer.tasks.bone_completion.batches import Posed
from kneeformer.tasks.bone_completion.fractures import end_of, hide, known_beside
from kneeformer.tasks.bone_completion.length import FEWEST, conformal_quantile, length_of

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
    """Set `calibration` and `length_quantile` of a network, after its prior was fitted to `bones`.

    The first, by which deviations are multiplied, is the standard deviation of (completed - true distance) /
    deviation at surface that a ball hides, each bone completed by the prior of other people's; root of the
    mean square over bones. The second is the `conformal_quantile` of the lengths of the same bones, an end of
    each being hidden. They stay as they are where the prior gives no deviation, and with bones of fewer than
    three people.
    """
    if len({origin.person for origin in origins}) < _FEWEST or not network.prior.tells_deviation:
        return
    device = network.prior.mean.device
    registered = torch.stack([network.registration.registered(b.image.to(device), b.pose) for b in bones])

    @torch.no_grad()
    def errors_of(out: int) -> tuple[Tensor, float]:
        others = network.unfitted()
        kept = [n for n, origin in enumerate(origins) if origin.person != origins[out].person]
        others.fit(registered[kept], [origins[n] for n in kept])
        ball = _standardised(others, bones[out], np.random.default_rng([21, out]))
        return ball, _length_ratio(others, bones[out], out % 2 == 0) if len(bones) >= FEWEST else 0.0

    errors = side_by_side(errors_of, range(len(bones)), partial(watch, "Calibrating deviations"))
    squared = [e.square().mean() for e, _ in errors if len(e)]
    if squared:
        network.calibration.copy_(torch.stack(squared).mean().sqrt())
    if len(bones) >= FEWEST:
        ratios = np.array([ratio for _, ratio in errors]) / float(network.calibration)
        network.length_quantile.fill_(conformal_quantile(ratios))


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


def _length_ratio(network: CompletionModel, bone: Posed, upper: bool) -> float:
    """Absolute error of the length in deviations, one end of the bone being hidden."""
    image, distance = bone.image.to(network.prior.mean.device), bone.image[DISTANCE].numpy()
    grid = Grid(network.grid, network.spacing)
    hidden = end_of(distance < 0, grid, upper)
    known = torch.from_numpy(known_beside(hidden, distance, network.spacing)).to(image.device)
    points = points_from_middle(network.grid, network.spacing, image.device)
    _, found, deviation = network(image, known).at(points, network.spacing)
    assert deviation is not None
    completed = np.where(hidden, found.reshape(network.grid).cpu().numpy(), distance)
    spread = np.where(hidden, deviation.reshape(network.grid).cpu().numpy(), 0)
    true, made = (
        length_of(surface_of(-volume, 0.0, grid).vertices, spread, grid) for volume in (distance, completed)
    )
    return abs(made.mm - true.mm) / max(made.deviation_mm, _LEAST_MM)
