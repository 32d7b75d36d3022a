"""Calibrated uncertainty: each training bone is left out once and completed, and the errors are measured.

The Gaussian models behind a standard deviation take the pose as known and the bone as a sample of the prior,
and so underestimate the error. The training bones, whose truth is known, show by how much.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import numpy as np
import torch
from torch import Tensor

from kneeformer.geometry.grid import Grid
from kneeformer.geometry.mesh import surface_of
from kneeformer.labels import COMPLETE
from kneeformer.networks.compute import side_by_side
from kneeformer.networks.positions import points_from_middle
from kneeformer.shape_models.calibration import Calibration
from kneeformer.shape_models.completion import CompletionModel
from kneeformer.shape_models.priors import Pca
from kneeformer.shape_models.registration import DISTANCE
from kneeformer.sides import Whose
from kneeformer.tasks.bone_completion.batches import Posed
from kneeformer.tasks.bone_completion.fractures import end_of, hide, known_beside
from kneeformer.tasks.bone_completion.length import FEWEST, conformal_quantile, length_of

_SHARES = (0.1, 0.4)  # of a bone that is hidden
_FEWEST = 3  # people: the spread of one other alone is unknown
_LEAST_MM = 0.05  # no deviation is smaller


@dataclass(frozen=True)
class _Errors:
    """Errors of a left-out bone, in standard deviations.

    Attributes:
        surface: (voxels,) at the surface that a ball hid.
        length: of its length with a hidden end; None with too few bones.
    """

    surface: Tensor
    length: float | None


@torch.no_grad()
def calibrate(
    network: CompletionModel,
    bones: list[Posed],
    whose: list[Whose],
    watch: Callable[[str, int, int], None] = lambda what, done, of: None,
) -> None:
    """Set the calibrations of a network, after its prior was fitted to `bones`.

    Deviations are multiplied by the factor: the root mean square, over bones, of (completed - true distance)
    / deviation at the surface that a ball hides, each bone completed by the prior of other people's bones.
    The quantile is the `conformal_quantile` of the lengths of the same bones, each with a hidden end. Both
    stay as they are if the prior gives no deviation, or with bones of fewer than three people.

    `calibration_by_other_side` is the same for bones completed with their other side; with fewer than FEWEST
    pairs it is that of all bones, which is too wide but not too narrow.
    """
    if len({of.person for of in whose}) < _FEWEST or not network.prior.tells_deviation:
        return
    device = network.prior.mean.device
    registered = torch.stack([network.registration.registered(b.image.to(device), b.pose) for b in bones])
    whole = torch.ones(network.grid, dtype=torch.bool, device=device)
    enough = len(bones) >= FEWEST
    facing = [next((n for n, of in enumerate(whose) if of.faces(this)), None) for this in whose]
    conditioned = isinstance(network.prior, Pca) and sum(n is not None for n in facing) >= FEWEST

    @torch.no_grad()
    def errors_of(out: int) -> tuple[_Errors, _Errors | None]:
        others, other_side = network.unfitted(), facing[out]
        kept = [n for n, of in enumerate(whose) if of.person != whose[out].person]
        scales = [bones[n].pose.scale for n in kept]
        others.fit(registered[kept], [whose[n] for n in kept], scales)
        alone = _errors(others, bones[out], out, enough)
        if other_side is None or not conditioned:
            return alone, None
        given = others.given_other_side(bones[other_side].image.to(device), whole)
        return alone, _errors(given, bones[out], out, enough)

    errors = side_by_side(errors_of, range(len(bones)), device, partial(watch, "Calibrating deviations"))
    _set(network.calibration, [alone for alone, _ in errors])
    network.calibration_by_other_side.load_state_dict(network.calibration.state_dict())
    _set(network.calibration_by_other_side, [given for _, given in errors if given is not None])


def _set(calibration: Calibration, errors: list[_Errors]) -> None:
    squared = [e.surface.square().mean() for e in errors if len(e.surface)]
    if squared:
        calibration.factor.copy_(torch.stack(squared).mean().sqrt())
    lengths = [e.length for e in errors if e.length is not None]
    if lengths:
        ratios = np.array(lengths) / float(calibration.factor)
        calibration.length_quantile.fill_(conformal_quantile(ratios))


def _errors(network: CompletionModel, bone: Posed, number: int, with_length: bool) -> _Errors:
    surface = _standardised(network, bone, np.random.default_rng([21, number]))
    return _Errors(surface, _length_ratio(network, bone, upper=number % 2 == 0) if with_length else None)


def _standardised(network: CompletionModel, bone: Posed, rng: np.random.Generator) -> Tensor:
    """(voxels,) errors at the hidden surface, in deviations."""
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
    """Absolute error of the length with a hidden end, in deviations."""
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
