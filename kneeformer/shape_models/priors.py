"""Priors of shape: they predict a healthy bone in the prototype's frame from its visible part.

All have one interface: fitted once to registered bones, they complete one that is partly hidden. A bone is
(2, z, y, x): CT in [0, 1] and signed distance in mm. Shape is completed from visible distances alone. CT
follows by the same combination of bones; if visible CT can be used, a PCA finds another combination for CT,
from distances and CT together.
"""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import ClassVar

import torch
from torch import Tensor, nn

from kneeformer.geometry.aliases import Size, Spacing
from kneeformer.shape_models.both_sides import BothSides
from kneeformer.shape_models.gram import left_out, principal
from kneeformer.shape_models.least_squares import Family
from kneeformer.shape_models.registration import CT, DISTANCE, Motion
from kneeformer.shape_models.residual_kriging import krige_residual
from kneeformer.shape_models.settings import PriorSettings

BAND_MM = 10.0  # from the mean surface, within which voxels distinguish shapes
_LEAST_MM = 0.01  # smallest error of a prior
_CT_ERROR = 0.05  # of the window: typical CT error inside a new bone


@dataclass(frozen=True)
class Guess:
    """A completed bone.

    Attributes:
        image: (2, z, y, x).
        deviation_mm: (z, y, x), standard deviation of its distances; None if the prior gives none.
    """

    image: Tensor
    deviation_mm: Tensor | None = None


class ShapePrior(nn.Module, ABC):
    """Base class of all priors.

    Attributes:
        tells_deviation: whether its guesses have deviations.
        mean: (2, z, y, x) mean of the training bones.
        noise_mm: (), typical error at the surface of a new bone.
    """

    tells_deviation: ClassVar[bool] = False
    mean: Tensor
    noise_mm: Tensor

    def __init__(self, grid: Size, spacing: Spacing, settings: PriorSettings) -> None:
        super().__init__()
        self.grid, self.spacing, self.settings = grid, spacing, settings
        self.register_buffer("mean", torch.zeros(2, *grid))
        self.register_buffer("noise_mm", torch.ones(()))

    @abstractmethod
    def fit(self, bones: Tensor) -> None:
        """Take everything there is to take from (bones, 2, z, y, x) float32."""

    @abstractmethod
    def complete(self, image: Tensor, known: Tensor) -> Guess:
        """Predict the whole bone from its known voxels.

        Args:
            image: (2, z, y, x); unknown voxels are not read.
            known: (z, y, x) bool.
        """

    def corrected(self, guess: Guess, image: Tensor, known: Tensor, motion: Motion) -> Guess:
        """The guess after residual kriging, which agrees with known voxels and corrects hidden ones.

        Args:
            guess: result of `complete`.
            motion: that may be missing from the bone's pose.
        """
        whole = guess.image.clone()
        error, left = krige_residual(
            whole[DISTANCE], image[DISTANCE], known, self.spacing, self.settings.correlation_mm
        )
        whole[DISTANCE] = torch.where(known, image[DISTANCE], whole[DISTANCE] + error)
        if guess.deviation_mm is None:
            return Guess(whole)
        own = guess.deviation_mm**2 + self.noise_mm**2
        return Guess(whole, (own * left).sqrt())

    def with_visible_ct(self, guess: Guess, image: Tensor, known: Tensor) -> Guess:
        """The guess with CT that also uses visible CT, if the prior can; its shape is unchanged.

        Args:
            image, known: as in `complete`; CT is read inside known bone.
        """
        return guess

    def _telling(self) -> Tensor:
        """(z, y, x) bool: voxels near the mean surface, which distinguish shapes."""
        return self.mean[DISTANCE].abs() < BAND_MM

    def _keep_noise(self, error_mm: Tensor) -> None:
        """A single bone tells no error: it stays 1 mm."""
        if torch.isfinite(error_mm):
            self.noise_mm.copy_(error_mm.clamp(min=_LEAST_MM))


class MeanShape(ShapePrior):
    """The mean bone, whatever is visible: the prototype."""

    tells_deviation = True

    def fit(self, bones: Tensor) -> None:
        self.mean.copy_(bones.mean(0))
        away = (bones - self.mean)[:, DISTANCE, self._telling()]
        self._keep_noise(away.std() if len(bones) > 1 else away.new_tensor(torch.nan))

    def complete(self, image: Tensor, known: Tensor) -> Guess:
        return Guess(self.mean.clone(), torch.full_like(self.mean[DISTANCE], float(self.noise_mm)))


class NearestBone(ShapePrior):
    """The training bone whose visible surface is nearest."""

    bones: Tensor

    def __init__(self, grid: Size, spacing: Spacing, settings: PriorSettings) -> None:
        super().__init__(grid, spacing, settings)
        self.register_buffer("bones", torch.full((settings.components, 2, *grid), torch.nan))

    def fit(self, bones: Tensor) -> None:
        self.mean.copy_(bones.mean(0))
        self.bones[: len(bones)] = bones[: len(self.bones)]
        distances = bones[:, DISTANCE, self._telling()]
        apart = torch.cdist(distances, distances) / distances.shape[1] ** 0.5
        self._keep_noise(apart.fill_diagonal_(torch.inf).min(1).values.mean())

    def complete(self, image: Tensor, known: Tensor) -> Guess:
        seen = known & self._telling()
        apart = (self.bones[:, DISTANCE, seen] - image[DISTANCE, seen]).square().mean(1)
        return Guess(self.bones[int(apart.nan_to_num(torch.inf).argmin())].clone())


class OtherSide(ShapePrior):
    """The same person's bone of the other side, mirrored: fitted to it alone before each completion.

    One bone shows no usual error: `noise_mm` stays 1.
    """

    def fit(self, bones: Tensor) -> None:
        self.mean.copy_(bones.mean(0))

    def complete(self, image: Tensor, known: Tensor) -> Guess:
        return Guess(self.mean.clone())

    def family(self) -> Family:
        """The family of that bone alone."""
        return Family.of_one(self.mean[DISTANCE])


class Pca(ShapePrior):
    """Principal components, and their Gaussian posterior given the visible voxels.

    With n bones far fewer than voxels the components come from the n x n Gram matrix. The model is that of
    probabilistic PCA (Tipping and Bishop 1999): bone = mean + modes @ a + error, a ~ N(0, 1). Errors of
    neighbouring voxels are correlated: those within `correlation_mm` along each axis count as one
    observation.

    Attributes:
        modes: (components, 2, z, y, x), each one standard deviation long; 0 beyond the number of bones.
    """

    tells_deviation = True
    modes: Tensor

    def __init__(self, grid: Size, spacing: Spacing, settings: PriorSettings) -> None:
        super().__init__(grid, spacing, settings)
        self.register_buffer("modes", torch.zeros(settings.components, 2, *grid))

    def fit(self, bones: Tensor, people: Sequence[str] | None = None) -> None:
        """Take everything there is to take from (bones, 2, z, y, x) float32.

        Args:
            people: person of each bone; None if all are different.
        """
        self.mean.copy_(bones.mean(0))
        gram, voxels = self.gram(bones)
        values, weights = principal(gram, len(self.modes))
        self.modes.zero_()
        combination = weights.T.float() / max(1, len(bones) - 1) ** 0.5
        self.modes[: len(values)] = torch.einsum("kn,nczyx->kczyx", combination, bones - self.mean)
        squared = left_out(gram, len(self.modes), people or [str(n) for n in range(len(bones))])
        self._keep_noise((squared.mean() / voxels).sqrt())

    def gram(self, bones: Tensor) -> tuple[Tensor, int]:
        """(n, n) float64 products of distances near the mean surface, and the number of voxels.

        Args:
            bones: (n, 2, z, y, x).
        """
        distances = bones[:, DISTANCE, self._telling()].double()
        return distances @ distances.T, distances.shape[1]

    def complete(self, image: Tensor, known: Tensor) -> Guess:
        scores, covariance = self.posterior(image, known)
        bone = self.mean + torch.einsum("k,kczyx->czyx", scores.float(), self.modes)
        shapes = self.modes[:, DISTANCE].flatten(1)
        spread = (shapes * (covariance.float() @ shapes)).sum(0).clamp(min=0).sqrt()
        return Guess(bone, spread.reshape(self.grid))

    def with_visible_ct(self, guess: Guess, image: Tensor, known: Tensor) -> Guess:
        scores, covariance = self.posterior(image, known)
        inside = known & (image[DISTANCE] < 0)
        modes = self.modes[:, CT, inside].double()
        away = (image - self.mean)[CT, inside].double() - scores @ modes
        variance = _CT_ERROR**2 * self._correlated_voxels()
        precision = torch.linalg.inv(covariance) + modes @ modes.T / variance
        scores = scores + torch.linalg.solve(precision, modes @ away / variance)
        whole = guess.image.clone()
        whole[CT] = self.mean[CT] + torch.einsum("k,kzyx->zyx", scores.float(), self.modes[:, CT])
        return replace(guess, image=whole)

    def given_other_side(self, image: Tensor, known: Tensor, sides: BothSides) -> "Pca":
        """The prior of one person, conditioned on the bone of the other side.

        Args:
            image, known: of that bone, mirrored, as in `complete`.
        """
        scores, covariance = self.posterior(image, known)
        bone = self.mean + torch.einsum("k,kczyx->czyx", scores.float(), self.modes)
        rest = torch.where(known, image - bone, 0)
        r = sides.scores.double()
        left = (1 - r**2) * torch.eye(len(scores), dtype=r.dtype, device=r.device) + r**2 * covariance
        factor = torch.linalg.cholesky(left).float()
        other = type(self)(self.grid, self.spacing, self.settings).to(self.mean.device)
        other.mean.copy_(self.mean + sides.scores * (bone - self.mean) + sides.residual * rest)
        other.modes.copy_(torch.einsum("jk,jczyx->kczyx", factor, self.modes))
        other.noise_mm.copy_(self.noise_mm * (1 - sides.residual**2).sqrt())
        return other

    def posterior(self, image: Tensor, known: Tensor) -> tuple[Tensor, Tensor]:
        """(k,) mean and (k, k) covariance of the scores, float64, given known voxels, as in `complete`."""
        seen = known & self._telling()
        modes = self.modes[:, DISTANCE, seen].double()
        away = (image - self.mean)[DISTANCE, seen].double()
        variance = float(self.noise_mm) ** 2 * self._correlated_voxels()
        precision = modes @ modes.T / variance + torch.eye(len(modes), dtype=modes.dtype, device=modes.device)
        covariance = torch.linalg.inv(precision)
        return covariance @ (modes @ away) / variance, covariance

    def _correlated_voxels(self) -> float:
        """Number of voxels that count as one observation."""
        return max(1.0, self.settings.correlation_mm**3 / float(torch.tensor(self.spacing).prod()))

    def family(self) -> Family:
        """The family that the components span, to find pose and scores of a bone together."""
        return Family(self.mean[DISTANCE], self.modes[:, DISTANCE], float(self.noise_mm))


class ZeroFilledPca(Pca):
    """The same components, with a plain projection of the bone whose hidden voxels are set to the mean.

    Hidden voxels thus count as observations of the mean: the simplest completion by a PCA, as a baseline.
    """

    tells_deviation = False

    def complete(self, image: Tensor, known: Tensor) -> Guess:
        filled = torch.where(known, image - self.mean, 0)[DISTANCE, self._telling()]
        modes = self.modes[:, DISTANCE, self._telling()]
        squared = modes.square().sum(1)  # near the mean surface modes are orthogonal
        scores = torch.where(squared > _LEAST_MM**2 * len(filled), modes @ filled / squared, 0)
        return Guess(self.mean + torch.einsum("k,kczyx->czyx", scores, self.modes))
