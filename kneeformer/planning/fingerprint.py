"""Fingerprint of a dataset: sizes, spacings, intensities and volumes of structures, by case and overall."""

from collections.abc import Mapping, Sequence

import numpy as np
from pydantic import BaseModel, ConfigDict

from kneeformer.data.outliers import filled_box, outlier_limits
from kneeformer.geometry.aliases import Size, Spacing, Vector
from kneeformer.geometry.components import without_small_components
from kneeformer.geometry.grid import Grid
from kneeformer.geometry.long_axis import straightening
from kneeformer.geometry.orientation import (
    common_orientations,
    orientation_for,
    permuted,
    turning,
)
from kneeformer.kspace.fourier import is_3d, zero_filled
from kneeformer.kspace.sampling import apparent_acceleration, measured_columns
from kneeformer.labels import LabelScheme
from kneeformer.sides import Side

SAMPLES_PER_CASE = 5000  # intensities kept of each case, for the dataset's percentiles
_SAMPLES = 5_000_000  # kept of all cases at most


class Intensities(BaseModel):
    """Intensities of one channel in the structures of all cases, or in whole images without labels."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    mean: float
    deviation: float
    percentile_00_5: float
    percentile_99_5: float
    minimum: float
    maximum: float


class CaseFingerprint(BaseModel):
    """One case, with axes (z, y, x) of the file or of the orientation in which it will be prepared.

    Attributes:
        shape: size of the box that is not empty.
        orientation: where these axes lead in the patient, such as "SPL".
        extent_mm: extent of the structures along the patient's (z, y, x); 0 without labels.
        straight_mm: the same after turning the longest axis onto one of the patient's.
        side: of the body, if the case's name or dataset.json tells it.
        phase_encoding_axes: of k-space: 2 is the columns, 0 the partitions of a 3D scan.
        acceleration: of slices in k-space: columns from the first to the last measured over those measured.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    shape: Size
    file_shape: Size
    spacing: Spacing
    orientation: str
    volumes_mm3: dict[str, float]
    extent_mm: Vector = (0.0, 0.0, 0.0)
    straight_mm: Vector = (0.0, 0.0, 0.0)
    side: Side | None = None
    phase_encoding_axes: tuple[int, ...] = (2,)
    acceleration: float = 1.0

    def turned(self, orientation: str) -> "CaseFingerprint":
        """The case with its axes in another order and direction."""
        axes, _ = turning(self.orientation, orientation)
        update = {
            "shape": permuted(self.shape, axes),
            "file_shape": permuted(self.file_shape, axes),
            "spacing": permuted(self.spacing, axes),
            "orientation": orientation,
        }
        return self.model_copy(update=update)


class Fingerprint(BaseModel):
    """A dataset as the planning rules see it. Written to dataset_fingerprint.json.

    Attributes:
        cases: labelled cases or, if there are none, those without labels, in the orientations in which they
            are prepared.
        subjects: subject of each case; a case that is missing here is a subject of its own.
        orientations: in which the dataset is prepared, one per plane of slices, the most frequent first.
        unlabelled: number of subjects of imagesUn without labels.
        both_sides: whether every labelled case comes with the same person's other side.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    cases: dict[str, CaseFingerprint]
    intensities: tuple[Intensities, ...]
    structures: tuple[str, ...]
    orientations: tuple[str, ...]
    subjects: dict[str, str] = {}
    unlabelled: int = 0
    both_sides: bool = False

    @property
    def labelled(self) -> int:
        """Number of cases with labels."""
        return sum(bool(c.volumes_mm3) for c in self.cases.values())

    @property
    def labelled_subjects(self) -> int:
        """Number of subjects with labels."""
        return len({self.subject(name) for name, case in self.cases.items() if case.volumes_mm3})

    def subject(self, case: str) -> str:
        """The subject of a case."""
        return self.subjects.get(case, case)

    @property
    def spacings(self) -> np.ndarray:
        """(cases, 3) mm."""
        return np.array([c.spacing for c in self.cases.values()])

    @property
    def median_spacing(self) -> Spacing:
        z, y, x = np.median(self.spacings, 0).tolist()
        return (z, y, x)


def samples_per_case(cases: int) -> int:
    """Number of intensities to keep of each case: fewer for many cases, to limit memory."""
    return min(SAMPLES_PER_CASE, max(1, _SAMPLES // max(cases, 1)))


def case_fingerprint(
    images: np.ndarray,
    labels: np.ndarray | None,
    grid: Grid,
    scheme: LabelScheme,
    seed: int,
    samples: int = SAMPLES_PER_CASE,
    side: Side | None = None,
    phase_encoding_axes: tuple[int, ...] | None = None,
) -> tuple[CaseFingerprint, np.ndarray]:
    """Fingerprint of a case and a sample of its intensities, (channels, samples) float32.

    Args:
        images: (channels, z, y, x), or complex k-space as in `Image`.
        labels: (z, y, x) or None.
        samples: number of voxels to draw, by `samples_per_case`.
        phase_encoding_axes: None takes those of the file.
    """
    axes = phase_encoding_axes or ((0, 2) if np.iscomplexobj(images) and is_3d(images) else (2,))
    acceleration = 1.0
    if np.iscomplexobj(images):
        acceleration = 1.0 if is_3d(images) else apparent_acceleration(measured_columns(images))
        images = zero_filled(images, grid.shape)[None]
    box = filled_box(images, labels)
    voxel = grid.voxel_mm3
    volumes = {}
    extent = straight = (0.0, 0.0, 0.0)
    structures = None
    if labels is not None:
        structures = scheme.foreground(labels)
        counts = np.bincount(labels[structures])
        volumes = {
            name: float(sum(counts[v] for v in values if v < len(counts))) * voxel
            for name, values in zip(scheme.names, scheme.values, strict=True)
        }
        extent, straight = _extents_mm(structures, grid)
    facts = CaseFingerprint(
        shape=_shape([last - first for first, last in box]),
        file_shape=grid.shape,
        spacing=grid.spacing,
        orientation=grid.orientation(),
        volumes_mm3=volumes,
        extent_mm=extent,
        straight_mm=straight,
        side=side,
        phase_encoding_axes=axes,
        acceleration=acceleration,
    )
    return facts, _sample(images, structures, seed, samples)


def dataset_fingerprint(
    cases: dict[str, CaseFingerprint],
    samples: Sequence[np.ndarray],
    structures: tuple[str, ...],
    subjects: Mapping[str, str] | None = None,
    unlabelled: int = 0,
    both_sides: bool = False,
) -> Fingerprint:
    """Pool the cases' facts and samples, and choose the orientations in which cases are prepared.

    Args:
        subjects, unlabelled, both_sides: as in `Fingerprint`.
    """
    orientations = common_orientations((c.orientation, c.spacing) for c in cases.values())
    cases = {
        name: c.turned(orientation_for(c.orientation, c.spacing, orientations)) for name, c in cases.items()
    }
    pooled = np.concatenate(samples, 1)
    intensities = []
    for channel in pooled:
        within = outlier_limits(channel).within(channel)
        usual = channel if within is None else channel[within]
        low, high = np.percentile(usual, (0.5, 99.5))
        intensities.append(
            Intensities(
                mean=float(usual.mean()),
                deviation=float(usual.std()),
                percentile_00_5=float(low),
                percentile_99_5=float(high),
                minimum=float(usual.min()),
                maximum=float(usual.max()),
            )
        )
    return Fingerprint(
        cases=cases,
        intensities=tuple(intensities),
        structures=structures,
        orientations=orientations,
        subjects=dict(subjects or {}),
        unlabelled=unlabelled,
        both_sides=both_sides,
    )


def _sample(images: np.ndarray, structures: np.ndarray | None, seed: int, samples: int) -> np.ndarray:
    flat = images.reshape(len(images), -1)
    rng = np.random.default_rng(seed)
    inside = None if structures is None else np.flatnonzero(structures)
    if inside is None or not len(inside):
        chosen = rng.integers(0, flat.shape[1], samples)
    else:
        chosen = inside[rng.integers(0, len(inside), samples)]
    return flat[:, chosen].astype(np.float32)


def _extents_mm(structures: np.ndarray, grid: Grid) -> tuple[Vector, Vector]:
    """Extents in mm along the patient's (z, y, x), as it lies and straightened, ignoring small components."""
    held = np.argwhere(without_small_components(structures)[::2, ::2, ::2]) * 2.0
    if len(held) < 2:
        return (0.0, 0.0, 0.0), (0.0, 0.0, 0.0)
    points = held @ grid.to_patient()[:3, :3].T
    return _span(points), _span(points @ straightening(points).T)


def _span(points: np.ndarray) -> Vector:
    x, y, z = np.ptp(points, axis=0).tolist()
    return (z, y, x)


def _shape(values: Sequence[int]) -> Size:
    z, y, x = values
    return (z, y, x)
