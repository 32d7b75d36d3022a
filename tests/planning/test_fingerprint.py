"""The fingerprint of cases made by hand."""

import numpy as np
import pytest

from kneeformer.geometry.grid import Grid
from kneeformer.labels import LabelScheme
from kneeformer.planning.fingerprint import (
    SAMPLES_PER_CASE,
    CaseFingerprint,
    Fingerprint,
    case_fingerprint,
    dataset_fingerprint,
    samples_per_case,
)

GRID = Grid((4, 6, 8), (3.0, 0.5, 0.5))
SCHEME = LabelScheme.from_json({"background": 0, "femur": 1, "tibia": 2})


def volume() -> tuple[np.ndarray, np.ndarray]:
    """An image whose voxels of value 10, 20 and 30 are background, femur (6 voxels) and tibia (4)."""
    labels = np.zeros(GRID.shape, np.uint8)
    labels[1, 2, 1:7] = 1
    labels[2, 3:5, 2:4] = 2
    image = np.zeros(GRID.shape, np.int16)
    image[1:3, 2:5, 1:7] = 10
    image[labels == 1], image[labels == 2] = 20, 30
    return image[None], labels


def case(
    orientation: str = "LIP", spacing: tuple[float, float, float] = (1.0, 1.0, 1.0), **volumes: float
) -> CaseFingerprint:
    return CaseFingerprint(
        shape=(1, 1, 1), file_shape=(1, 1, 1), spacing=spacing, orientation=orientation, volumes_mm3=volumes
    )


def test_a_case_by_hand() -> None:
    facts, sample = case_fingerprint(*volume(), GRID, SCHEME, seed=0)
    assert facts.shape == (2, 3, 6) and facts.file_shape == (4, 6, 8)
    assert facts.spacing == (3.0, 0.5, 0.5)
    assert facts.volumes_mm3 == {"femur": 6 * 0.75, "tibia": 4 * 0.75}
    assert facts.orientation == "SPL"  # the direction is the identity: z, y, x of LPS
    assert sample.shape == (1, SAMPLES_PER_CASE) and sample.dtype == np.float32


def test_intensities_are_those_of_the_structures() -> None:
    image, labels = volume()
    _, sample = case_fingerprint(image, labels, GRID, SCHEME, seed=0)
    assert set(np.unique(sample)) == {20, 30}
    assert sample.mean() == pytest.approx((6 * 20 + 4 * 30) / 10, abs=0.3)
    _, everywhere = case_fingerprint(image, None, GRID, SCHEME, seed=0)
    assert set(np.unique(everywhere)) == {0, 10, 20, 30}


def test_ignored_voxels_are_no_structure() -> None:
    image, labels = volume()
    scheme = LabelScheme.from_json({"background": 0, "femur": 1, "ignore": 2})
    facts, sample = case_fingerprint(image, labels, GRID, scheme, seed=0)
    assert set(np.unique(sample)) == {20} and facts.volumes_mm3 == {"femur": 4.5}


def test_regions_sum_their_values() -> None:
    scheme = LabelScheme.from_json({"background": 0, "bone": [1, 2], "tibia": [2]}, [1, 2])
    facts, _ = case_fingerprint(*volume(), GRID, scheme, seed=0)
    assert facts.volumes_mm3 == {"bone": 7.5, "tibia": 3.0}


def test_a_structure_that_is_absent_has_no_volume() -> None:
    image, labels = volume()
    facts, _ = case_fingerprint(image, np.where(labels == 2, 0, labels), GRID, SCHEME, seed=0)
    assert facts.volumes_mm3 == {"femur": 4.5, "tibia": 0.0}


def test_the_seed_decides_the_sample() -> None:
    rng = np.random.default_rng(0)
    image = rng.normal(size=(2, 4, 6, 8)).astype(np.float32)
    first, same, other = (case_fingerprint(image, None, GRID, SCHEME, seed)[1] for seed in (1, 1, 2))
    assert np.array_equal(first, same) and not np.array_equal(first, other)


def test_channels_are_sampled_at_the_same_voxels() -> None:
    image, labels = volume()
    _, sample = case_fingerprint(np.concatenate([image, image + 5]), labels, GRID, SCHEME, seed=0)
    assert np.array_equal(sample[1], sample[0] + 5)


def test_intensities_of_the_dataset_are_pooled() -> None:
    samples = [np.arange(0, 101, dtype=np.float32)[None], np.arange(100, 201, dtype=np.float32)[None]]
    pooled = dataset_fingerprint({"a": case(), "b": case()}, samples, ("femur",)).intensities[0]
    assert (pooled.minimum, pooled.maximum, pooled.mean) == (0, 200, 100)
    # 202 values, 0 to 100 and 100 to 200: place 0.005 * 201 = 1.005 lies at value 1.005
    assert pooled.percentile_00_5 == pytest.approx(1.005)
    assert pooled.percentile_99_5 == pytest.approx(200 - 1.005)


def test_labelled_are_the_cases_with_labels_even_of_structures_that_are_absent() -> None:
    image, labels = volume()
    scheme = LabelScheme.from_json({"background": 0, "patella": 3})
    absent, sample = case_fingerprint(image, labels, GRID, scheme, seed=0)
    without, other = case_fingerprint(image, None, GRID, scheme, seed=0)
    assert absent.volumes_mm3 == {"patella": 0.0} and without.volumes_mm3 == {}
    found = dataset_fingerprint({"a": absent, "b": without}, [sample, other], scheme.names, unlabelled=7)
    assert (found.labelled, found.unlabelled) == (1, 7)


def test_images_without_labels_alone_have_a_fingerprint() -> None:
    image, _ = volume()
    facts, sample = case_fingerprint(image, None, GRID, SCHEME, seed=0)
    found = dataset_fingerprint({"u": facts}, [sample], SCHEME.names, unlabelled=1)
    assert (found.labelled, found.unlabelled, len(found.cases)) == (0, 1, 1)
    assert found.median_spacing == GRID.spacing
    assert (found.intensities[0].minimum, found.intensities[0].maximum) == (0, 30)
    assert Fingerprint.model_validate_json(found.model_dump_json()) == found


def test_medians() -> None:
    cases = {
        "a": case(spacing=(3.0, 0.5, 0.4), femur=10.0),
        "b": case(spacing=(4.0, 0.4, 0.4), femur=30.0, tibia=0.0),
        "c": case(spacing=(3.5, 0.3, 0.6), femur=0.0),
    }
    structures = ("femur", "tibia")
    fingerprint = Fingerprint(cases=cases, intensities=(), structures=structures, orientations=("LIP",))
    assert fingerprint.median_spacing == (3.5, 0.4, 0.4)


def test_json_round_trip() -> None:
    facts, sample = case_fingerprint(*volume(), GRID, SCHEME, seed=0)
    fingerprint = dataset_fingerprint({"a": facts}, [sample], SCHEME.names)
    assert Fingerprint.model_validate_json(fingerprint.model_dump_json()) == fingerprint


def test_outliers_are_in_no_intensity_of_the_dataset() -> None:
    rng = np.random.default_rng(0)
    samples = [rng.normal(300, 100, (1, SAMPLES_PER_CASE)).astype(np.float32) for _ in range(4)]
    clean = dataset_fingerprint({"a": case()}, samples, ("femur",)).intensities
    samples[0][0, :14] = -3.4e38
    (spoilt,) = dataset_fingerprint({"a": case()}, samples, ("femur",)).intensities
    assert spoilt.model_dump() == pytest.approx(clean[0].model_dump(), abs=0.5)


def test_the_shape_of_a_case_is_without_its_outliers() -> None:
    image, labels = volume()
    image[0, 3, 5, 7] = -32768
    assert case_fingerprint(image, labels, GRID, SCHEME, seed=0)[0].shape == (2, 3, 6)


def test_medians_of_three_planes_are_along_slices_rows_and_columns() -> None:
    """Stored with thick slices first, in the middle and last; the mean orientation has no thick axis."""
    scans = {
        "sagittal": case("RSA", (4.0, 0.5, 0.4)),
        "coronal": case("SPR", (0.5, 5.0, 0.4)),
        "axial": case("ARS", (0.5, 0.4, 6.0)),
    }
    samples = [np.zeros((1, 3), np.float32)] * 3
    found = dataset_fingerprint(scans, samples, ("femur",))
    assert set(found.orientations) == {"RSA", "PSR", "SAR"}
    assert found.median_spacing == (5.0, 0.5, 0.4)
    assert {name: c.orientation for name, c in found.cases.items()} == {
        "sagittal": "RSA",
        "coronal": "PSR",
        "axial": "SAR",
    }


def test_of_many_cases_fewer_intensities_are_kept_of_each() -> None:
    assert [samples_per_case(n) for n in (0, 1, 1000, 10_000, 10_000_000)] == [5000, 5000, 5000, 500, 1]
    assert case_fingerprint(*volume(), GRID, SCHEME, seed=0, samples=7)[1].shape == (1, 7)
