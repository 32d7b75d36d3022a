"""The augmentation of a plan, composed: draw, read the region it needs, warp and mirror, change intensities.

draw = augmentation.draw(rng, crop, orientation)
size = draw.region  # the sampler reads this much around the crop's centre
image, label = augmentation.apply(draw, image, label, rng)
mix = augmentation.draw_mix(rng, batch_size, crop)  # once per batch
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from kneeformer.config import AugmentationSettings
from kneeformer.geometry.aliases import Size, Spacing
from kneeformer.geometry.orientation import array_axes
from kneeformer.transforms import intensity, spatial
from kneeformer.transforms.cutmix import CutMix, draw_cutmix
from kneeformer.transforms.intensity import IntensityChange
from kneeformer.transforms.spatial import Role

UNCHANGED = AugmentationSettings(
    affine_probability=0,
    noise_probability=0,
    blur_probability=0,
    brightness_probability=0,
    contrast_probability=0,
    gamma_probability=0,
    low_resolution_probability=0,
    position_jitter_mm=0,
)
Warp = Callable[[np.ndarray, np.ndarray, Size, Role, float], np.ndarray]


@dataclass(frozen=True)
class Draw:
    """The spatial change of one crop, the same for all its roles.

    Attributes:
        crop: (z, y, x) voxels of the result.
        matrix: (3, 3) voxel offsets from output to input, or None for no warp.
        mirrored: axes (0 is z) reversed after the warp.
        warp: function that samples the crop through the matrix.
    """

    crop: Size
    matrix: np.ndarray | None = None
    mirrored: tuple[int, ...] = ()
    warp: Warp = spatial.warp

    @property
    def region(self) -> Size:
        """Voxels (z, y, x) of input, around the crop's centre, that the crop is made from."""
        return self.crop if self.matrix is None else spatial.region_needed(self.matrix, self.crop)

    def apply(self, region: np.ndarray, role: Role, outside: float = 0) -> np.ndarray:
        """The (c, *crop) crop in the middle of a (c, z, y, x) region, contiguous and of the region's dtype.

        The region may be larger than `self.region` by an even number of voxels. Beyond a smaller one, a label
        is `outside` and an image repeats its border.
        """
        if self.matrix is None:
            moved = spatial.centre(region, self.crop)
        else:
            moved = self.warp(region, self.matrix, self.crop, role, outside)
        return spatial.mirror(moved, self.mirrored)


class Augmentation:
    """Augmentation of training crops of one spacing. Stateless: randomness comes from `rng`."""

    def __init__(
        self, settings: AugmentationSettings, spacing_mm: Spacing, thick_axis: int | None = None
    ) -> None:
        """`spacing_mm` (z, y, x) is that of the preprocessed images; thick slices lie along `thick_axis`."""
        self.settings = settings
        self.spacing_mm, self.thick_axis = spacing_mm, thick_axis
        self.warp, changes = _backend(settings.backend)
        self.intensity_changes = [
            (getattr(settings, f"{name}_probability"), change) for name, change in changes(thick_axis).items()
        ]

    def draw(self, rng: np.random.Generator, crop: Size, orientation: str) -> Draw:
        """The spatial change of one crop of (z, y, x) voxels; `orientation` ("SPL") names its axes."""
        return Draw(
            crop=crop,
            matrix=spatial.draw_affine(rng, self.settings, self.spacing_mm, self.thick_axis),
            mirrored=spatial.draw_mirror(rng, array_axes(orientation, self.settings.mirror_axes)),
            warp=self.warp,
        )

    def apply(
        self,
        draw: Draw,
        image: np.ndarray,
        label: np.ndarray,
        rng: np.random.Generator,
        outside: float = 0,
    ) -> tuple[np.ndarray, np.ndarray]:
        """An augmented crop.

        Args:
            image: (c, z, y, x) float32, of the size `draw.region`.
            label: (l, z, y, x) integers of the same region.
            outside: the label beyond the region.

        Returns:
            image (c, *crop) float32 and label (l, *crop) of its dtype.
        """
        warped = draw.apply(image, "image")
        return self.change_intensity(warped, rng), draw.apply(label, "label", outside)

    def position(self, draw: Draw, centre_mm: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        """(3,) float32: position of the crop in its volume in mm, mirrored with it and jittered.

        Fields of view differ from scan to scan: the network must not trust a position to the millimetre.
        """
        signs = np.array([-1.0 if axis in draw.mirrored else 1.0 for axis in range(3)])
        jitter = rng.normal(0, self.settings.position_jitter_mm, 3)
        return np.asarray(centre_mm * signs + jitter, np.float32)

    def change_intensity(self, image: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        """A (c, z, y, x) float32 image after randomly chosen intensity changes, in fixed order."""
        for probability, change in self.intensity_changes:
            if rng.random() < probability:
                image = change(image, rng)
        return image

    def draw_mix(self, rng: np.random.Generator, batch_size: int, crop: Size) -> CutMix:
        """CutMix of a batch of crops of (z, y, x) voxels."""
        return draw_cutmix(rng, batch_size, crop, self.settings.cutmix_probability)


def _backend(name: str) -> tuple[Warp, Callable[[int | None], dict[str, IntensityChange]]]:
    """The warp of a crop, and a function that returns the intensity changes for a thick axis."""
    if name == "batchgenerators":  # slow to import, so imported where it is used
        from kneeformer.transforms import by_batchgenerators

        return by_batchgenerators.warp, by_batchgenerators.changes
    return spatial.warp, intensity.changes
