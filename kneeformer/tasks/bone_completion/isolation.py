"""A bone on its own: isolated by its mask, on one grid along the patient's axes, around its own middle.

Beside the voxels x * m of its CT a bone is stored as signed distances to its surface, negative inside: a
surface between two voxels is kept to a fraction of one, and two bones differ by millimetres.
"""

from dataclasses import dataclass

import numpy as np
import scipy

from kneeformer.errors import KneeformerError
from kneeformer.geometry.aliases import Size, Spacing
from kneeformer.geometry.boxes import Box, bounding_box, grown, slices
from kneeformer.geometry.components import without_small_components
from kneeformer.geometry.grid import Grid, points_from_middle
from kneeformer.geometry.long_axis import straightening
from kneeformer.labels import COMPLETE, KEEP, LabelScheme
from kneeformer.sides import Side
from kneeformer.tasks.bone_completion.settings import BoneConfiguration, BoneGridSettings
from kneeformer.tasks.cases import Scan

_MARGIN_MM = 15.0  # around the bone, beyond which distances are not measured voxel by voxel
_ROUNDING_MM, _FAR_MM = 0.01, 1e4


@dataclass(frozen=True)
class Bone:
    """An isolated bone.

    Attributes:
        image: (2, z, y, x) float32: CT in [0, 1], 0 outside the bone; and signed distance in mm.
        known: (z, y, x) bool, where no hidden surface can be nearer than the distance says.
        to_patient: (4, 4) float64, mm (z, y, x) from the grid's middle to patient coordinates (x, y, z).
        spacing: mm along (z, y, x).
    """

    image: np.ndarray
    known: np.ndarray
    to_patient: np.ndarray
    spacing: Spacing

    @property
    def labels(self) -> None:
        """None: its shape is in the distances."""
        return None

    @property
    def orientation(self) -> str:
        """That of its grid."""
        return "SPL"

    def visible(self) -> np.ndarray:
        """(z, y, x) bool: known voxels at its surface, which determine its pose."""
        return np.asarray(self.known & (np.abs(self.image[1]) < max(self.spacing)))


@dataclass(frozen=True)
class Outline:
    """A bone on its scan's own grid, measured once for every grid that it is resampled onto.

    All arrays are (z, y, x) of a box around bone and region.

    Attributes:
        bone: (z, y, x) bool, the bone to keep on the whole scan, less specks.
        distance: signed, in mm, to the surface of the bone to keep.
        hidden: mm to what is hidden.
        real: 1.0 where the nearest surface is bone and not the face of the mask's cut, else 0.0.
        intensity: CT in [0, 1].
    """

    grid: Grid
    box: Box
    bone: np.ndarray
    distance: np.ndarray
    hidden: np.ndarray
    real: np.ndarray
    intensity: np.ndarray

    @classmethod
    def of(cls, ct: np.ndarray, mask: np.ndarray, grid: Grid, settings: BoneGridSettings) -> "Outline":
        """Arguments and errors are those of `isolate`."""
        bone = without_small_components(mask == KEEP)
        if not bone.any():
            raise KneeformerError("the mask keeps no bone: 1 marks bone to keep, and no voxel of it does")
        box = _box(bone | (mask == COMPLETE), grid)
        cut = slices(box)
        distance = signed_distance(bone[cut], grid.spacing)
        hidden = _depth(_seen(mask[cut], box, grid.shape), grid.spacing)
        real = (np.abs(distance) < hidden - _ROUNDING_MM).astype(np.float32)
        return cls(grid, box, bone, distance, hidden, real, _intensity(ct[cut], grid, settings))

    def frame(self, settings: BoneGridSettings, side: Side | None) -> np.ndarray:
        """(4, 4) float64, as `frame`: mirrored where the plan mirrors bones of this side."""
        mirrored = settings.mirrored_axis if settings.mirrors(side) else None
        return frame(self.bone, self.grid, mirrored, settings.straightened)

    def on(self, size: Size, spacing: Spacing, to_patient: np.ndarray) -> Bone:
        """The bone on a grid, whose frame is that of `Bone.to_patient`."""
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
        mirrored: it is one of the other side.

    Raises:
        KneeformerError: the mask keeps no bone.
    """
    outline = Outline.of(ct, mask, grid, settings)
    axis = settings.mirrored_axis if mirrored else None
    to_patient = frame(outline.bone, grid, axis, settings.straightened)
    return outline.on(settings.grid, settings.spacing, to_patient)


def frame(
    bone: np.ndarray, grid: Grid, mirrored: int | None = None, straightened: bool = False
) -> np.ndarray:
    """(4, 4) float64: mm (z, y, x) from a bone's centroid to patient coordinates (x, y, z).

    The axes are the patient's or, `straightened`, these after the smallest rotation that brings one of them
    along the bone.

    Args:
        bone: (z, y, x) bool.
        mirrored: axis of (z, y, x) that is reversed.
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
    """(z, y, x) float32 mm to the boundary of a mask, negative inside; 0 half-way between two voxels."""
    return np.asarray(_depth(~mask, spacing) - _depth(mask, spacing))


def _depth(mask: np.ndarray, spacing: Spacing) -> np.ndarray:
    """(z, y, x) float32 mm from each voxel of a mask to its boundary; 0 outside.

    The boundary lies half a voxel before the nearest voxel outside, and half a voxel is less to the side
    than across thick slices. A mask without an outside is far from everything.
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
    """(3, z, y, x) index on the native grid of each voxel of the bone's."""
    points = points_from_middle(size, spacing).reshape(3, -1)
    matrix = grid.to_index() @ to_patient
    return np.asarray((matrix[:3, :3] @ points + matrix[:3, 3:]).reshape(3, *size))


def _box(occupied: np.ndarray, grid: Grid) -> Box:
    margins = [int(np.ceil(_MARGIN_MM / edge)) for edge in grid.spacing]
    return grown(bounding_box(occupied), margins, grid.shape)


def _seen(mask: np.ndarray, box: Box, shape: Size) -> np.ndarray:
    """Mark visible voxels: neither in the region, nor at a side where the bone leaves the field of view."""
    seen = mask != COMPLETE
    for axis, ((first, last), size) in enumerate(zip(box, shape, strict=True)):
        for at, border in ((0, first == 0), (-1, last == size)):
            face = np.moveaxis(seen, axis, 0)[at]
            if border and np.moveaxis(mask == KEEP, axis, 0)[at].any():
                face[...] = False
    return np.asarray(seen)


def _beyond(where: np.ndarray, shape: tuple[int, ...], grid: Grid) -> np.ndarray:
    """mm from each point to the box in which distances are measured; 0 inside it."""
    squared = np.zeros(where.shape[1:])
    for index, size, edge in zip(where, shape, grid.spacing, strict=True):
        squared += (edge * (np.maximum(-index, 0) + np.maximum(index - (size - 1), 0))) ** 2
    return np.asarray(np.sqrt(squared))


def _inside(where: np.ndarray, shape: Size) -> np.ndarray:
    size = np.array(shape).reshape(3, 1, 1, 1)
    return np.asarray(((where >= -0.5) & (where <= size - 0.5)).all(0))


def _intensity(ct: np.ndarray, grid: Grid, settings: BoneGridSettings) -> np.ndarray:
    """CT, averaged over what a voxel of the bone's grid covers, the window as [0, 1]."""
    low, high = settings.window_hu
    scaled = np.clip((ct.astype(np.float32) - low) / (high - low), 0, 1)
    wider = [max(0.0, new / old - 1) / 2 for new, old in zip(settings.spacing, grid.spacing, strict=True)]
    return np.asarray(scipy.ndimage.gaussian_filter(scaled, wider))


def prepare_bone(
    scan: Scan, labels: np.ndarray | None, configuration: BoneConfiguration, scheme: LabelScheme
) -> Bone:
    """The bone that a label map marks, isolated as one of the plan's side.

    Raises:
        KneeformerError: no labels.
    """
    if labels is None:
        raise KneeformerError("a bone is isolated by its label map, and there is none")
    bone = np.where(scheme.foreground(labels), KEEP, 0)
    settings = configuration.preprocessing
    return isolate(scan.image[0], bone, scan.grid, settings, settings.mirrors(scan.side))
