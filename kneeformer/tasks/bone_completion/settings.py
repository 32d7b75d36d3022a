"""Settings of bones: their grid, their augmentation in training by steps, and their model."""

from typing import Annotated

from pydantic import Field, field_validator, model_validator

from kneeformer.config.configuration import Configuration
from kneeformer.config.ranges import Angle, Hounsfield, Share, Voxels
from kneeformer.config.settings import GridSettings, Settings, Zooms, by
from kneeformer.shape_models.settings import BY_BOTH_SIDES, BY_STEPS, PriorSettings, RegistrationSettings
from kneeformer.sides import Side


class BoneGridSettings(GridSettings):
    """The grid of isolated bones, each around its own middle.

    Attributes:
        grid: voxels along (z, y, x): upwards, backwards and to the patient's left unless it is turned.
        side: to which bones of the other side are mirrored; None mirrors nothing.
        straightened: whether the grid is turned with each bone, its nearest axis along the bone's longest.
        window_hu: HU that become 0 and 1.
    """

    grid: Voxels
    side: Side | None = None
    straightened: bool = False
    window_hu: tuple[Hounsfield, Hounsfield] = (-200.0, 1500.0)

    def mirrors(self, side: Side | None) -> bool:
        """True for a bone of the other side; False where no side is known."""
        return None not in (side, self.side) and side != self.side

    @property
    def mirrored_axis(self) -> int:
        """Axis of (z, y, x) along which bones of the other side are mirrored.

        It is x, the patient's left and right, or y if straightened bones lie along x: mirrored along x they
        would be upside down.
        """
        extents = [n * mm for n, mm in zip(self.grid, self.spacing, strict=True)]
        return 1 if self.straightened and extents.index(max(extents)) == 2 else 2

    @field_validator("window_hu")
    @classmethod
    def _window_is_open(cls, window: tuple[float, float]) -> tuple[float, float]:
        if window[0] >= window[1]:
            raise ValueError(f"{list(window)}: the first, which becomes 0, must be below the second")
        return window


class BoneLearningSettings(Settings):
    """Augmentation of bones for networks that are trained by steps: rotated, shifted and partly hidden.

    Attributes:
        rotation_degrees: largest rotation about each axis.
        shift_mm: largest shift along each axis.
        scale: range of factors.
        hidden_probability: probability that a part is hidden; 0 learns from whole bones alone.
    """

    rotation_degrees: Angle = 15.0
    shift_mm: Annotated[float, Field(ge=0, le=1000)] = 5.0
    scale: Zooms = (0.9, 1.1)
    hidden_probability: Share = 0.8


class BoneConfiguration(Configuration):
    """A model of whole bones on one grid: their registration, and the prior of their shapes.

    A configuration without a prior is a registration that others start from.
    """

    preprocessing: BoneGridSettings
    registration: RegistrationSettings
    prior: PriorSettings | None = None
    learning: BoneLearningSettings | None = None

    @model_validator(mode="after")
    def _learns_as_its_prior_does(self) -> "BoneConfiguration":
        if self.prior is None:
            return self
        kind, grid = self.prior.kind, self.preprocessing.grid
        if kind in BY_STEPS and self.learning is None:
            raise ValueError(
                f"prior.kind {kind!r} is trained by steps and needs `learning`: {{}} takes the defaults"
            )
        if kind not in BY_STEPS and self.learning is not None:
            raise ValueError(f"prior.kind {kind!r} is fitted in closed form: `learning` must be null")
        if kind in BY_STEPS and any(side % 8 for side in grid):
            nearest = [8 * max(1, round(side / 8)) for side in grid]
            raise ValueError(
                f"preprocessing.grid {list(grid)} is not multiples of 8, as {kind!r} needs; {nearest} is"
            )
        return self

    @property
    def by_steps(self) -> bool:
        return self.learning is not None

    def compatibility_key(self) -> tuple[object, ...]:
        return self.task, self.preprocessing, self.registration, self.prior

    def decisions(self) -> list[tuple[str, str]]:
        grid = self.preprocessing
        side = "" if grid.side is None else f", bones mirrored to the {grid.side}"
        straight = ", rotated with each bone" if grid.straightened else ""
        rows = [("grid", f"{by(grid.grid)} voxels of {by(grid.spacing)} mm{side}{straight}")]
        if self.prior is not None:
            rows.append(("prior", self._prior_in_words(self.prior)))
        return rows

    def _prior_in_words(self, prior: PriorSettings) -> str:
        bones = None if self.evidence is None else self.evidence.cases
        text = f"{prior.kind}, {prior.components} components"
        text += "" if bones is None else f", fewer than a fold's training bones of {bones}"
        if prior.kind in ("vae", "vqvae"):
            text += f"; a code of {prior.code.latent_channels} channels"
        return text

    @property
    def requires_mask(self) -> bool:
        return True

    @property
    def takes_other_side(self) -> bool:
        conditions = self.prior is not None and self.prior.kind in BY_BOTH_SIDES
        return self.needs_other_side or (conditions and self.preprocessing.side is not None)

    @property
    def needs_other_side(self) -> bool:
        return self.prior is not None and self.prior.kind == "mirrored"
