"""A bone, registered to the prototype and then among shapes, and completed there."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor, nn

from kneeformer.errors import KneeformerError
from kneeformer.geometry.aliases import Size, Spacing
from kneeformer.shape_models.both_sides import BothSides
from kneeformer.shape_models.build_prior import build_prior
from kneeformer.shape_models.calibration import Calibration
from kneeformer.shape_models.least_squares import Family
from kneeformer.shape_models.pose import Pose, sample, warp
from kneeformer.shape_models.priors import MeanShape, OtherSide, Pca
from kneeformer.shape_models.registration import CT, DISTANCE, Carry, Fit, Registration
from kneeformer.shape_models.settings import PriorSettings, RegistrationSettings
from kneeformer.sides import Whose


@dataclass(frozen=True)
class Completed:
    """A whole bone in the prototype's frame, and its way there.

    Attributes:
        image: (2, z, y, x): CT in [0, 1] and signed distance in mm of that frame.
        deviation_mm: (z, y, x), standard deviation of the distance.
        surface_error_ratio: error of the prior at the visible surface, as a multiple of its usual one.
        visible_surface: how much surface is visible, as a share of the prototype's.
    """

    image: Tensor
    deviation_mm: Tensor | None
    fit: Fit
    surface_error_ratio: float
    visible_surface: float

    def at(self, points: Tensor, spacing: Spacing) -> tuple[Tensor, Tensor, Tensor | None]:
        """CT, distance in mm of the bone's own frame, and deviation, at (points, 3) mm in that frame."""
        there, scale = self.fit.pose(points), self.fit.pose.scale
        seen = sample(self.image, there, spacing)
        spread = (
            None if self.deviation_mm is None else sample(self.deviation_mm[None], there, spacing)[0] / scale
        )
        return seen[CT], seen[DISTANCE] / scale, spread


class CompletionModel(nn.Module):
    """Registration and prior. Parts of the registration have the names they have in its own stage.

    Whatever the prior, the pose of a bone is found among the shapes of a PCA: priors differ in what they
    complete, not in the pose. The bare prototype keeps the pose of the registration to it, and so do all
    where the registration makes no least-squares steps. A person's other side is registered to the bone
    by itself.

    Attributes:
        shapes: that PCA, where the prior is not one itself.
        calibration: of its deviations.
        calibration_by_other_side: the same, of a person whose other side is given.
    """

    def __init__(
        self, grid: Size, spacing: Spacing, registration: RegistrationSettings, prior: PriorSettings
    ) -> None:
        super().__init__()
        self.grid, self.spacing, self.settings = grid, spacing, prior
        self.registration = Registration(grid, spacing, registration).requires_grad_(False)
        self.prior = build_prior(grid, spacing, prior)
        among_shapes = registration.steps > 0 and not isinstance(self.prior, Pca | MeanShape | OtherSide)
        self.shapes = Pca(grid, spacing, prior) if among_shapes else None
        self.sides = BothSides()
        self.calibration, self.calibration_by_other_side = Calibration(), Calibration()

    @property
    def device(self) -> torch.device:
        """On which it computes."""
        return self.prior.mean.device

    def unfitted(self) -> "CompletionModel":
        """The same registration, shared, and a prior that knows nothing yet."""
        other = CompletionModel(self.grid, self.spacing, self.registration.settings, self.settings)
        other.registration = self.registration
        return other.to(self.device)

    def fit(self, bones: Tensor, whose: Sequence[Whose] | None = None, scales: Sequence[float] = ()) -> None:
        """Fit the prior, and the shapes beside it, to registered bones (bones, 2, z, y, x).

        Args:
            whose: each bone is; None where all are of different people.
            scales: by which each was brought to the prototype, where `whose` is given.
        """
        people = None if whose is None else [of.person for of in whose]
        if not isinstance(self.prior, Pca):
            self.prior.fit(bones)
            if self.shapes is not None:
                self.shapes.fit(bones, people)
            return
        self.prior.fit(bones, people)
        if whose is not None:
            gram, voxels = self.prior.gram(bones)
            left = voxels * float(self.prior.noise_mm) ** 2
            spread = float(self.registration.spread[1])
            self.sides.learn(gram, whose, scales, len(self.prior.modes), left, spread)

    @torch.no_grad()
    def given_other_side(self, image: Tensor, known: Tensor, reads_ct: bool = True) -> "CompletionModel":
        """The model of one person, whose bone of the other side is given, mirrored, as `forward` takes it.

        Args:
            reads_ct: as `complete` takes it, of the other side.
        """
        assert isinstance(self.prior, Pca)
        pose = self.registration(image, known).pose
        seen, there = self._other_side(image, pose, reads_ct), self._carried(known, pose)
        other = CompletionModel(self.grid, self.spacing, self.registration.settings, self.settings)
        other.to(self.device).load_state_dict(self.state_dict())
        other.calibration = other.calibration_by_other_side
        other.prior = self.prior.given_other_side(seen, there, self.sides)
        other.registration.expect_scale(pose.scale, float(self.sides.log_scale))
        return other

    @torch.no_grad()
    def of_one(self, image: Tensor, known: Tensor, reads_ct: bool = True) -> "CompletionModel":
        """The same registration, and a prior fitted to one bone alone, as `given_other_side` takes it."""
        other = self.unfitted()
        pose = self.registration(image, known).pose
        other.prior.fit(self._other_side(image, pose, reads_ct)[None])
        return other

    @torch.no_grad()
    def forward(self, image: Tensor, known: Tensor) -> Completed:
        """Complete one bone, as `complete` does, that is resampled from its own grid.

        Args:
            image: (2, z, y, x) on the bone's own grid.
            known: (z, y, x) bool, where its distances are known: somewhere at its surface.
        """
        image = torch.where(known, image, 0.0)  # a hidden neighbour of small weight says nothing either

        def carry(pose: Pose) -> tuple[Tensor, Tensor]:
            return self.registration.registered(image, pose), self._carried(known, pose)

        fit = self.fit_among_shapes(image, known, self.registration(image, known), carry)
        return self.complete(*carry(fit.pose), fit)

    @torch.no_grad()
    def fit_among_shapes(self, image: Tensor, known: Tensor, fit: Fit, carry: Carry) -> Fit:
        """Refine the pose of a bone on the prototype by least squares among the shapes of the family.

        Args:
            image, known: as `forward` takes them.
            carry: as `Registration.among` takes it.
        """
        family = self.family()
        if family is None:
            return fit
        return replace(fit, pose=self.registration.among(image, known, fit.pose, family, carry))

    @torch.no_grad()
    def complete(self, image: Tensor, known: Tensor, fit: Fit, reads_ct: bool = True) -> Completed:
        """Complete one bone.

        Args:
            image: (2, z, y, x) on the prototype's grid; distances are mm there.
            known: (z, y, x) bool, where its distances are known.
            fit: by which it was brought there.
            reads_ct: its CT is in the units of the bones that were learnt; else it says nothing.

        Raises:
            KneeformerError: nothing of the visible surface comes to lie on the prototype's grid.
        """
        image = torch.where(known, image, 0.0)
        if not reads_ct:
            image[CT] = self.prior.mean[CT]
        guess = self.prior.complete(image, known)
        surface = known & (image[DISTANCE].abs() < max(self.spacing))
        if not surface.any():
            raise KneeformerError(
                "the bone to keep cannot be registered: nothing of its visible surface comes to lie on the "
                "prototype; keep more bone"
            )
        whole_surface = self.registration.prototype[DISTANCE].abs() < max(self.spacing)
        error = (guess.image - image)[DISTANCE, surface].square().mean().sqrt()
        motion = self.registration.motion_left(fit.pose)
        whole = self.prior.corrected(guess, image, known, motion) if self.settings.residual else guess
        if self.settings.residual and reads_ct:
            whole = self.prior.with_visible_ct(whole, image, known)
        share = float(surface.sum() / whole_surface.sum())
        deviation = None if whole.deviation_mm is None else self.calibration.factor * whole.deviation_mm
        return Completed(whole.image, deviation, fit, float(error / self.prior.noise_mm), share)

    def family(self) -> Family | None:
        """The shapes among which the pose of a bone is found; None where it is the pose on the prototype."""
        shapes = self.prior if isinstance(self.prior, Pca | OtherSide) else self.shapes
        return None if shapes is None else shapes.family()

    def _other_side(self, image: Tensor, pose: Pose, reads_ct: bool) -> Tensor:
        """An other side (2, z, y, x) in the prototype's frame; CT that is not read is the prototype's."""
        seen = self.registration.registered(image, pose)
        if not reads_ct:
            seen[CT] = self.registration.prototype[CT]
        return seen

    def _carried(self, known: Tensor, pose: Pose) -> Tensor:
        """Mark the prototype's voxels that fall wholly on known ones, inside the bone's grid."""
        inner = known[1:-1, 1:-1, 1:-1].float()  # beyond its border a grid tells nothing
        framed = nn.functional.pad(inner, (1, 1, 1, 1, 1, 1))
        return warp(framed[None], pose, self.grid, self.spacing)[0] > 0.999
