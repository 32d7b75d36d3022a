"""Isolation of a bone by its mask, on a grid along the patient's axes, around its own middle.

Beside its CT, a bone is stored as signed distances to its surface, negative inside: these keep a surface
between voxels to a fraction of one, and the difference of two bones in millimetres.
"""

from dataclasses import dataclass, replace

import numpy as np
import scipy

from kneeformer.errors import KneeformerError
from kneeformer.geometry.affine import transformed
from kneeformer.geometry.aliases import Size, Spacing
from kneeformer.geometry.boxes import Box, bounding_box, grown, slices
from kneeformer.geometry.components import small_components_apart
from kneeformer.geometry.grid import Grid, points_from_middle
from kneeformer.geometry.long_axis import straightening
from kneeformer.labels import COMPLETE, KEEP, LabelScheme
from kneeformer.sides import Side
from kneeformer.tasks.bone_completion.settings import BoneConfiguration, BoneGridSettings
from kneeformer.tasks.cases import Scan

_MARGIN_MM = 15.0  # around the bone, within which distances are measured voxel by voxel
_ROUNDING_MM, _FAR_MM = 0.01, 1e4
LEAST_OUTSIDE = 0.0005  # share of a bone outside a grid that is warned of
_EDGE_MM = 6.0  # between a bone and the border of its grid: registration reads so far from a surface
_NOISE_MM3 = 200.0  # volume of all small components: less is a segmentation's noise


@dataclass(frozen=True)
class Bone:
    """An isolated bone.

    Attributes:
        image: (2, z, y, x) float32: CT in [0, 1], 0 outside the bone; and signed distance in mm.
        known: (z, y, x) bool, where no hidden surface can be nearer than the distance.
        to_patient: (4, 4) float64, from mm (z, y, x) from the grid's middle to patient coordinates (x, y, z).
        spacing: mm along (z, y, x).
        warnings: about parts of the bone that are missing here.
    """

    image: np.ndarray
    known: np.ndarray
    to_patient: np.ndarray
    spacing: Spacing
    warnings: tuple[str, ...] = ()

    @property
    def labels(self) -> None:
        """None: the distances hold its shape."""
        return None

    @property
    def orientation(self) -> str:
        """Orientation of its grid."""
        return "SPL"

    def visible(self) -> np.ndarray:
        """(z, y, x) bool: known voxels at the surface, which determine the pose."""
        return np.asarray(self.known & (np.abs(self.image[1]) < max(self.spacing)))


@dataclass(frozen=True)
class Outline:
    """A bone on the grid of its scan, measured once and then resampled onto any grid.

    All arrays are (z, y, x) of a box around bone and region.

    Attributes:
        bone: (z, y, x) bool, the bone to keep on the whole scan, without small components.
        distance: signed distance in mm to the surface of the bone to keep.
        hidden: distance in mm to the hidden part.
        real: 1.0 where the nearest surface is bone and not a cut by the mask, else 0.0.
        intensity: CT in [0, 1].
        small_mm3: (n,) volumes of the small components.
    """

    grid: Grid
    box: Box
    bone: np.ndarray
    distance: np.ndarray
    hidden: np.ndarray
    real: np.ndarray
    intensity: np.ndarray
    small_mm3: np.ndarray

    @classmethod
    def of(cls, ct: np.ndarray, mask: np.ndarray, grid: Grid, settings: BoneGridSettings) -> "Outline":
        """Measure a bone; arguments and errors as `isolate`."""
        bone, small = small_components_apart(mask == KEEP)
        if not bone.any():
            raise KneeformerError("the mask keeps no bone: 1 marks bone to keep, and no voxel of it does")
        box = _box(bone | (mask == COMPLETE), grid)
        cut = slices(box)
        distance = signed_distance(bone[cut], grid.spacing)
        hidden = _depth(_seen(mask[cut], box, grid.shape), grid.spacing)
        real = (np.abs(distance) < hidden - _ROUNDING_MM).astype(np.float32)
        intensity = _intensity(ct[cut], grid, settings)
        return cls(grid, box, bone, distance, hidden, real, intensity, small * grid.voxel_mm3)

    def frame(self, settings: BoneGridSettings, side: Side | None) -> np.ndarray:
        """(4, 4) float64, as `frame`, mirrored if the plan mirrors bones of this side."""
        mirrored = settings.mirrored_axis if settings.mirrors(side) else None
        return frame(self.bone, self.grid, mirrored, settings.straightened)

    def doubts(self) -> list[str]:
        """A warning if the small components together are too large for noise."""
        total = float(self.small_mm3.sum())
        if total < _NOISE_MM3:
            return []
        return [
            f"{total / 1000:.1f} ml of the bone are left out, pieces smaller than 2 % of the largest "
            f"({len(self.small_mm3)}): join them to it or remove them; mark displaced ones as fragments"
        ]

    def fitted(self, to_patient: np.ndarray, settings: BoneGridSettings) -> np.ndarray:
        """A frame as of `frame`, moved along its axes by the least that keeps the bone on the plan's grid.

        One end may be much farther from the centroid than the other, above all if the heavier one is hidden.
        """
        voxels = transformed(np.argwhere(self.bone), np.linalg.inv(to_patient) @ self.grid.to_patient())
        half = (np.array(settings.grid) - 1) / 2 * settings.spacing - _EDGE_MM
        least, most = np.sort([voxels.max(0) - half, voxels.min(0) + half], axis=0)
        moved = np.array(to_patient)
        moved[:3, 3] += to_patient[:3, :3] @ np.clip(0, least, most)
        return moved

    def outside(self, size: Size, spacing: Spacing, to_patient: np.ndarray) -> tuple[float, float]:
        """Share of the bone outside a grid, given as in `on`, and by how many mm at most it leaves that."""
        to_grid = np.linalg.inv(to_patient) @ self.grid.to_patient()
        half = (np.array(size) - 1) / 2 * spacing
        beyond = (np.abs(transformed(np.argwhere(self.bone), to_grid)) - half).max(1)
        return float((beyond > 0).mean()), max(0.0, float(beyond.max()))

    def on(self, size: Size, spacing: Spacing, to_patient: np.ndarray) -> Bone:
        """Resample the bone onto a grid with the frame `to_patient`, as in `Bone`."""
        native = _indices(size, spacing, to_patient, self.grid)
        where = native - np.array([first for first, _ in self.box]).reshape(3, 1, 1, 1)

        def seen(volume: np.ndarray) -> np.ndarray:
            return np.asarray(scipy.ndimage.map_coordinates(volume, where, order=1, mode="nearest"))

        distances = seen(self.distance) + _beyond(where, self.distance.shape, self.grid)
        return Bone(
            np.stack([seen(self.intensity) * (distances < 0), distances]).astype(np.float32),
            _inside(native, self.grid.shape)
            & (seen(self.real) > 0.999)
            & (np.abs(distances) < seen(self.hidden)),
            to_patient,
            spacing,
        )


def isolate(
    ct: np.ndarray, mask: np.ndarray, grid: Grid, settings: BoneGridSettings, mirrored: bool = False
) -> Bone:
    """Resample a bone onto the plan's grid.

    Args:
        ct: (z, y, x) Hounsfield units on the native grid.
        mask: (z, y, x) on the same grid, 1 bone to keep, 2 region to complete.
        mirrored: whether to mirror it, as a bone of the other side.

    Raises:
        KneeformerError: the mask keeps no bone.
    """
    outline = Outline.of(ct, mask, grid, settings)
    axis = settings.mirrored_axis if mirrored else None
    to_patient = outline.fitted(frame(outline.bone, grid, axis, settings.straightened), settings)
    where = settings.grid, settings.spacing, to_patient
    return replace(outline.on(*where), warnings=(*outline.doubts(), *_cut_off(*outline.outside(*where))))


def _cut_off(share: float, mm: float) -> list[str]:
    if share < LEAST_OUTSIDE:
        return []
    return [
        f"{share:.1%} of the bone, up to {mm:.0f} mm, lie outside the plan's grid of bones and are cut off: "
        f"plan again with kf_plan_and_preprocess, or enlarge preprocessing.grid in the plan"
    ]


def frame(
    bone: np.ndarray, grid: Grid, mirrored: int | None = None, straightened: bool = False
) -> np.ndarray:
    """(4, 4) float64: mm (z, y, x) from a bone's centroid to patient coordinates (x, y, z).

    The axes are the patient's; `straightened`, they are rotated as little as possible until one of them runs
    along the bone.

    Args:
        bone: (z, y, x) bool.
        mirrored: axis of (z, y, x) to reverse.
    """
    voxels = np.argwhere(bone)
    middle = grid.to_patient() @ [*voxels.mean(0), 1.0]
    matrix = np.zeros((4, 4))
    matrix[2, 0] = matrix[1, 1] = matrix[0, 2] = matrix[3, 3] = 1.0
    if mirrored is not None:
        matrix[:, mirrored] *= -1
    if straightened:
        matrix[:3, :3] = straightening(voxels @ grid.to_patient()[:3, :3].T).T @ matrix[:3, :3]
    matrix[:3, 3] = middle[:3]
    return matrix


def signed_distance(mask: np.ndarray, spacing: Spacing) -> np.ndarray:
    """(z, y, x) float32 mm to the boundary of a mask, half-way between voxels; negative inside."""
    return np.asarray(_depth(~mask, spacing) - _depth(mask, spacing))


def _depth(mask: np.ndarray, spacing: Spacing) -> np.ndarray:
    """(z, y, x) float32 mm from each voxel of a mask to its boundary; 0 outside.

    The boundary lies half a voxel before the nearest voxel outside, in the direction of that voxel. In a mask
    without an outside all voxels are far from it.
    """
    if mask.all():
        return np.full(mask.shape, _FAR_MM, np.float32)
    nearest = scipy.ndimage.distance_transform_edt(mask, spacing, return_distances=False, return_indices=True)
    squared, thickness = np.zeros(mask.shape, np.float32), np.zeros(mask.shape, np.float32)
    for axis, edge in enumerate(spacing):
        shape = [-1 if a == axis else 1 for a in range(3)]
        along = ((nearest[axis] - np.arange(mask.shape[axis]).reshape(shape)) * edge).astype(np.float32) ** 2
        squared += along
        thickness += along * edge**2
    far = np.sqrt(squared)
    return np.asarray(far - 0.5 * np.sqrt(thickness / np.maximum(squared, 1e-12)), np.float32)


def _indices(size: Size, spacing: Spacing, to_patient: np.ndarray, grid: Grid) -> np.ndarray:
    """(3, z, y, x) native index of each voxel of the bone's grid."""
    points = points_from_middle(size, spacing).reshape(3, -1)
    matrix = grid.to_index() @ to_patient
    return np.asarray((matrix[:3, :3] @ points + matrix[:3, 3:]).reshape(3, *size))


def _box(occupied: np.ndarray, grid: Grid) -> Box:
    margins = [int(np.ceil(_MARGIN_MM / edge)) for edge in grid.spacing]
    return grown(bounding_box(occupied), margins, grid.shape)


def _seen(mask: np.ndarray, box: Box, shape: Size) -> np.ndarray:
    """Visible voxels: not in the region, nor on a side where the bone leaves the field of view."""
    seen = mask != COMPLETE
    for axis, ((first, last), size) in enumerate(zip(box, shape, strict=True)):
        for at, border in ((0, first == 0), (-1, last == size)):
            face = np.moveaxis(seen, axis, 0)[at]
            if border and np.moveaxis(mask == KEEP, axis, 0)[at].any():
                face[...] = False
    return np.asarray(seen)


def _beyond(where: np.ndarray, shape: tuple[int, ...], grid: Grid) -> np.ndarray:
    """Distance in mm from each point to the box in which distances are measured; 0 inside."""
    squared = np.zeros(where.shape[1:])
    for index, size, edge in zip(where, shape, grid.spacing, strict=True):
        squared += (edge * (np.maximum(-index, 0) + np.maximum(index - (size - 1), 0))) ** 2
    return np.asarray(np.sqrt(squared))


def _inside(where: np.ndarray, shape: Size) -> np.ndarray:
    size = np.array(shape).reshape(3, 1, 1, 1)
    return np.asarray(((where >= -0.5) & (where <= size - 0.5)).all(0))


def _intensity(ct: np.ndarray, grid: Grid, settings: BoneGridSettings) -> np.ndarray:
    """The CT window scaled to [0, 1], smoothed to the voxels of the bone's grid."""
    low, high = settings.window_hu
    scaled = np.clip((ct.astype(np.float32) - low) / (high - low), 0, 1)
    wider = [max(0.0, new / old - 1) / 2 for new, old in zip(settings.spacing, grid.spacing, strict=True)]
    return np.asarray(scipy.ndimage.gaussian_filter(scaled, wider))


def prepare_bone(
    scan: Scan, labels: np.ndarray | None, configuration: BoneConfiguration, scheme: LabelScheme
) -> Bone:
    """Isolate the bone that a label map marks, mirrored to the plan's side.

    Raises:
        KneeformerError: no labels.
    """
    if labels is None:
        raise KneeformerError("a bone is isolated by its label map, and there is none")
    bone = np.where(scheme.foreground(labels), KEEP, 0)
    settings = configuration.preprocessing
    return isolate(scan.image[0], bone, scan.grid, settings, settings.mirrors(scan.side))
