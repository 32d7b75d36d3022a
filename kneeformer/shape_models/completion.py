"""Completion of a bone, after its registration to the prototype and among shapes."""

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
from kneeformer.shape_models.registration import CT, DISTANCE, Carry, Fit, Registration, read_bone
from kneeformer.shape_models.settings import PriorSettings, RegistrationSettings
from kneeformer.sides import Whose


@dataclass(frozen=True)
class Completed:
    """A completed bone in the prototype's frame, with its registration.

    Attributes:
        image: (2, z, y, x): CT in [0, 1] and signed distance in mm of that frame.
        deviation_mm: (z, y, x), standard deviation of the distance.
        surface_error_ratio: error of the prior at the visible surface, as a multiple of its usual error.
        visible_surface: visible surface, as a share of the prototype's.
    """

    image: Tensor
    deviation_mm: Tensor | None
    fit: Fit
    surface_error_ratio: float
    visible_surface: float

    def at(self, points: Tensor, spacing: Spacing) -> tuple[Tensor, Tensor, Tensor | None]:
        """CT, signed distance and deviation in mm at (points, 3) mm, all in the bone's own frame."""
        there, scale = self.fit.pose(points), self.fit.pose.scale
        seen = read_bone(self.image, there, spacing)
        spread = (
            None if self.deviation_mm is None else sample(self.deviation_mm[None], there, spacing)[0] / scale
        )
        return seen[CT], seen[DISTANCE] / scale, spread


class CompletionModel(nn.Module):
    """Registration and prior; tensors of the registration have the same names as in its own stage.

    With every prior, the pose of a bone is found among the shapes of a PCA, so that priors differ only in the
    completion. The mean shape keeps the pose of the registration to it, and so do all priors if the
    registration makes no least-squares steps. A person's other side, as the only shape, is its own family.

    Attributes:
        shapes: that PCA, if the prior is not one itself.
        calibration: of the prior's deviations.
        calibration_by_other_side: the same for persons whose other side is given.
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
        """Device of the model."""
        return self.prior.mean.device

    def unfitted(self) -> "CompletionModel":
        """A model with the same registration, shared, and an unfitted prior."""
        other = CompletionModel(self.grid, self.spacing, self.registration.settings, self.settings)
        other.registration = self.registration
        return other.to(self.device)

    def fit(self, bones: Tensor, whose: Sequence[Whose] | None = None, scales: Sequence[float] = ()) -> None:
        """Fit the prior, and the shapes beside it, to registered bones (bones, 2, z, y, x).

        Args:
            whose: person and side of each bone; None if all are of different people.
            scales: of the registrations to the prototype, if `whose` is given.
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
        """The model for one person, conditioned on the mirrored bone of the other side, as in `forward`.

        Args:
            reads_ct: as in `complete`, for the other side.
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
        """The same registration with a prior fitted to one bone; arguments as `given_other_side`."""
        other = self.unfitted()
        pose = self.registration(image, known).pose
        other.prior.fit(self._other_side(image, pose, reads_ct)[None])
        return other

    @torch.no_grad()
    def forward(self, image: Tensor, known: Tensor) -> Completed:
        """Register one bone, resample it onto the prototype's grid, and complete it.

        Args:
            image: (2, z, y, x) on the bone's own grid.
            known: (z, y, x) bool, where its distances are known, including a part of its surface.
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
            image, known: as in `forward`.
            carry: as in `Registration.among`.
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
            fit: its registration to the prototype.
            reads_ct: whether its CT is in the units of the training bones; otherwise it is not used.

        Raises:
            KneeformerError: no visible surface lies on the prototype's grid.
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
        """The shapes for finding the pose of a bone; None if the pose on the prototype is kept."""
        shapes = self.prior if isinstance(self.prior, Pca | OtherSide) else self.shapes
        return None if shapes is None else shapes.family()

    def _other_side(self, image: Tensor, pose: Pose, reads_ct: bool) -> Tensor:
        """An other side (2, z, y, x) in the prototype's frame; unused CT is replaced by the prototype's."""
        seen = self.registration.registered(image, pose)
        if not reads_ct:
            seen[CT] = self.registration.prototype[CT]
        return seen

    def _carried(self, known: Tensor, pose: Pose) -> Tensor:
        """Mark the prototype's voxels that lie wholly on known ones, inside the bone's grid."""
        inner = known[1:-1, 1:-1, 1:-1].float()  # beyond its border a grid tells nothing
        framed = nn.functional.pad(inner, (1, 1, 1, 1, 1, 1))
        return warp(framed[None], pose, self.grid, self.spacing)[0] > 0.999
