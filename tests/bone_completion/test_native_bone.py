"""Completed bones on the scan's own grid: what was visible comes back untouched."""

import numpy as np
import pytest
import torch

from kneeformer.geometry.affine import Affine, transformed
from kneeformer.geometry.grid import Grid
from kneeformer.labels import COMPLETE, KEEP
from kneeformer.networks.positions import points_from_middle
from kneeformer.phantoms.bone import completion_mask, oblique_axial, scan_bone
from kneeformer.phantoms.bone_shape import BoneAnatomy, Fracture, draw_pose, scale_of
from kneeformer.shape_models.completion import Completed
from kneeformer.shape_models.pose import Pose, rotation_matrix
from kneeformer.shape_models.registration import Fit
from kneeformer.tasks.bone_completion.isolation import Bone, isolate
from kneeformer.tasks.bone_completion.native import AIR_HU, NativeBone, resample_to_native
from kneeformer.tasks.bone_completion.settings import BoneGridSettings

pytestmark = pytest.mark.slow

SETTINGS = BoneGridSettings(folder="test", spacing=(2.0, 2.0, 2.0), grid=(72, 48, 64))
POSE = Pose(rotation_matrix(torch.tensor([0.1, -0.15, 0.2])), torch.tensor([2.0, -3.0, 1.0]).double(), 0.95)


class Case:
    """A broken tibia on an oblique grid of thick slices, and the truth as its completion."""

    def __init__(self, mirrored: bool = False) -> None:
        rng = np.random.default_rng(5)
        self.anatomy, self.pose = BoneAnatomy.draw(rng), draw_pose(rng)
        self.grid = oblique_axial(self.anatomy, self.pose, rng, (2.2, 1.4, 1.7))
        self.ct, self.healthy = scan_bone(self.anatomy, self.pose, self.grid, rng)
        self.fracture = Fracture.draw(self.healthy, self.grid, rng)
        self.mask = completion_mask(self.healthy, self.grid, self.fracture)
        self.bone = isolate(self.ct, self.mask, self.grid, SETTINGS, mirrored)

    def truth(self, thicker_mm: float = 0.0, deviation: float | None = 0.5) -> Completed:
        """The healthy bone at the grid of the prototype, to which POSE leads; CT is half-way everywhere."""
        there = POSE.inverse()(points_from_middle(SETTINGS.grid, SETTINGS.spacing).double()).numpy()
        patient = there @ self.bone.to_patient[:3, :3].T + self.bone.to_patient[:3, 3]
        distance = distances(self.anatomy, self.pose, patient) * POSE.scale - thicker_mm
        image = torch.from_numpy(np.stack([np.full_like(distance, 0.5), distance])).float()
        spread = None if deviation is None else torch.full(SETTINGS.grid, deviation)
        return Completed(image.reshape(2, *SETTINGS.grid), spread, Fit(POSE, 0.1, 1.0), 1.0, 1.0)

    def back(self, *completed: Completed) -> NativeBone:
        return resample_to_native(completed, self.bone, self.ct, self.mask, self.grid, SETTINGS)


def distances(anatomy: BoneAnatomy, pose: Affine, patient: np.ndarray) -> np.ndarray:
    return np.asarray(anatomy.signed_distance(transformed(patient, np.linalg.inv(pose))) * scale_of(pose))


@pytest.fixture(scope="module", params=[False, True], ids=["as it is", "mirrored"])
def case(request: pytest.FixtureRequest) -> Case:
    return Case(request.param)


@pytest.fixture(scope="module")
def native(case: Case) -> NativeBone:
    return case.back(case.truth())


def dice(one: np.ndarray, other: np.ndarray) -> float:
    return float(2 * (one & other).sum() / (one.sum() + other.sum()))


def test_visible_bone_comes_back_untouched(case: Case, native: NativeBone) -> None:
    visible = case.mask == KEEP
    assert visible.sum() > 10_000
    assert (native.mask[visible] == 1).all()
    assert np.array_equal(native.ct[visible], case.ct[visible])


def test_only_the_region_is_completed(case: Case, native: NativeBone) -> None:
    hidden, visible = case.mask == COMPLETE, case.mask == KEEP
    assert native.region.any() and not native.region[~hidden].any()
    assert np.array_equal(native.mask > 0, visible | (native.region > 0))
    assert np.array_equal(native.region > 0, (native.raw > 0) & hidden)
    assert (native.ct[native.region > 0] == 650).all()  # half-way from -200 to 1500 HU
    assert (native.ct[native.mask == 0] == AIR_HU).all()
    for volume, kind in (
        (native.mask, np.uint8),
        (native.raw, np.uint8),
        (native.region, np.uint8),
        (native.ct, np.int16),
    ):
        assert volume.dtype == kind and volume.shape == case.grid.shape


def test_the_truth_comes_back_as_the_truth(case: Case, native: NativeBone) -> None:
    hidden, healthy = case.mask == COMPLETE, case.healthy > 0
    assert dice((native.mask > 0)[hidden], healthy[hidden]) > 0.97
    assert dice(native.raw > 0, healthy) > 0.97


def test_uncertainty_is_told_in_the_region_alone(case: Case, native: NativeBone) -> None:
    assert native.uncertainty is not None and native.uncertainty.dtype == np.float32
    hidden = case.mask == COMPLETE
    assert np.allclose(native.uncertainty[hidden], 0.5 / POSE.scale, atol=1e-5)  # mm of the patient
    assert (native.uncertainty[~hidden] == 0).all()
    assert case.back(case.truth(deviation=None)).uncertainty is None
    assert case.back(case.truth(), case.truth(deviation=None)).uncertainty is None


def test_of_two_models_the_mean(case: Case, native: NativeBone) -> None:
    thick, thin = case.truth(2.0), case.truth(-2.0)
    assert np.array_equal(case.back(thick, thin).raw, native.raw)
    assert case.back(thick).raw.sum() > native.raw.sum() > case.back(thin).raw.sum()


def test_the_surface_lies_in_the_patient(case: Case, native: NativeBone) -> None:
    vertices = native.surface(case.grid).vertices
    away = np.abs(distances(case.anatomy, case.pose, vertices))
    assert np.median(away) < 0.4 and np.quantile(away, 0.99) < 2


def test_a_region_beyond_the_bones_grid_stays_empty() -> None:
    case = Case()
    far = case.grid.voxel_centres()[0, 0, 0]
    mask = case.mask.copy()
    mask[:2, :2, :2] = COMPLETE
    small = SETTINGS.model_copy(update={"grid": (24, 24, 24)})
    bone: Bone = isolate(case.ct, mask, case.grid, small)
    image = torch.stack([torch.full(small.grid, 0.5), torch.full(small.grid, -5.0)])
    everywhere = Completed(image, None, Fit(Pose.identity(), 0.1, 1.0), 1.0, 1.0)
    native = resample_to_native([everywhere], bone, case.ct, mask, case.grid, small)
    assert np.abs(far - bone.to_patient[:3, 3]).max() > 30
    assert not native.raw[:2, :2, :2].any()
    assert native.raw.any() and (native.mask[mask == KEEP] == 1).all()


def test_a_completed_end_beyond_the_grid_of_what_is_visible_is_not_cut_off() -> None:
    """Of 100 mm the lowest 20 are visible: around their middle lies the grid, which reaches 55 mm up."""
    settings = BoneGridSettings(folder="test", spacing=(2.0, 2.0, 2.0), grid=(56, 16, 16))
    grid = Grid((120, 20, 20), (1.0, 1.0, 1.0))
    mask = np.zeros(grid.shape, np.uint8)
    mask[10:30, 5:15, 5:15], mask[30:110, 5:15, 5:15] = KEEP, COMPLETE
    ct = np.where(mask > 0, 400, -1000).astype(np.int16)
    bone = isolate(ct, mask, grid, settings)
    z, y, x = np.abs(points_from_middle(settings.grid, settings.spacing).numpy().T).reshape(3, *settings.grid)
    image = np.stack([np.ones_like(z), np.maximum.reduce([z - 50, y - 5, x - 5])])
    lower = Pose(torch.eye(3).double(), torch.tensor([-40.0, 0, 0]).double(), 1.0)
    whole = Completed(torch.from_numpy(image).float(), None, Fit(lower, 0.1, 1.0), 1.0, 1.0)
    raw = resample_to_native([whole], bone, ct, mask, grid, settings).raw
    assert np.array_equal(raw[:, 10, 10], mask[:, 10, 10] > 0)


def test_splinters_of_the_mask_are_no_bone() -> None:
    case = Case()
    grid: Grid = case.grid
    mask = case.mask.copy()
    mask[:1, :2, :2] = KEEP
    bone = isolate(case.ct, mask, grid, SETTINGS)
    native = resample_to_native([case.truth()], bone, case.ct, mask, grid, SETTINGS)
    assert not native.mask[:1, :2, :2].any() and (native.ct[:1, :2, :2] == AIR_HU).all()


@pytest.mark.parametrize(("scale", "dtype"), [(0.08, np.uint8), (1.0, np.uint16)])
def test_a_scan_that_is_not_in_hounsfield_units_gives_the_models_ct_alone(scale: float, dtype: type) -> None:
    """Air is -1000 whatever the scan's type, and no CT holds two scales."""
    case = Case()
    ct = ((case.ct.clip(-1024, 2000).astype(np.float64) + 1024) * scale).astype(dtype)
    native = resample_to_native([case.truth()], case.bone, ct, case.mask, case.grid, SETTINGS)
    assert native.ct.dtype == np.int16
    assert (native.ct[native.mask == 0] == AIR_HU).all() and (native.ct[native.mask == 1] == 650).all()
