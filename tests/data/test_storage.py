"""Prepared cases on disk."""

from pathlib import Path

import numpy as np
import pytest

from kneeformer.data.storage import (
    POINTS_PER_STRUCTURE,
    CaseRecord,
    open_case,
    save_case,
    stored_key,
    structure_points,
)
from kneeformer.errors import KneeformerError

SHAPE = (7, 33, 29)
CROP = (4, 16, 16)
RECORD = CaseRecord(key="abc", shape=SHAPE, spacing=(3.0, 0.4375, 1 / 3), points={"femur": [(1, 2, 3)]})


def arrays(channels: int = 2) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(0)
    image = rng.normal(size=(channels, *SHAPE)).astype(np.float32)
    return image, rng.integers(0, 300, SHAPE).astype(np.uint16)


@pytest.mark.parametrize("channels", [1, 3])
def test_round_trip(tmp_path: Path, channels: int) -> None:
    image, labels = arrays(channels)
    save_case(tmp_path / "new" / "folder", "knee", image, labels, RECORD, CROP)
    case = open_case(tmp_path / "new" / "folder", "knee")
    assert case.name == "knee" and case.record == RECORD and case.labels is not None
    assert np.array_equal(case.image[:], image) and case.image.dtype == np.float32
    assert np.array_equal(case.labels[:], labels) and case.labels.dtype == np.uint16


def test_an_array_that_is_not_contiguous(tmp_path: Path) -> None:
    image, labels = arrays()
    save_case(tmp_path, "knee", image[:, ::-1, :, ::-1], labels.T.copy().T, RECORD, CROP)
    case = open_case(tmp_path, "knee")
    assert case.labels is not None
    assert np.array_equal(case.image[:], image[:, ::-1, :, ::-1]) and np.array_equal(case.labels[:], labels)


def test_crops_are_what_numpy_slices(tmp_path: Path) -> None:
    image, labels = arrays()
    save_case(tmp_path, "knee", image, labels, RECORD, CROP)
    case = open_case(tmp_path, "knee")
    assert case.labels is not None
    rng = np.random.default_rng(1)
    for _ in range(50):
        first = rng.integers(0, SHAPE)
        z, y, x = (slice(int(a), int(rng.integers(a, n)) + 1) for a, n in zip(first, SHAPE, strict=True))
        assert np.array_equal(case.image[:, z, y, x], image[:, z, y, x])
        assert np.array_equal(case.labels[z, y, x], labels[z, y, x])


@pytest.mark.parametrize("crop", [(1, 1, 1), (4, 16, 16), (500, 500, 500)])
def test_any_crop_size_stores_the_same_voxels(tmp_path: Path, crop: tuple[int, int, int]) -> None:
    image, labels = (volume[..., :9, :8] for volume in arrays())  # a chunk a voxel takes its time
    save_case(tmp_path, "knee", image, labels, RECORD, crop)
    assert np.array_equal(open_case(tmp_path, "knee").image[:], image)


def test_a_chunk_is_one_channel_and_half_a_crop(tmp_path: Path) -> None:
    image, labels = arrays()
    save_case(tmp_path, "knee", image, labels, RECORD, CROP)
    case = open_case(tmp_path, "knee")
    assert case.labels is not None
    assert case.image.chunks == (1, 2, 8, 8) and case.labels.chunks == (2, 8, 8)


def test_the_record_is_written_last(tmp_path: Path) -> None:
    image, labels = arrays()
    save_case(tmp_path, "knee", image, labels, RECORD, CROP)
    written = {f.name: f.stat().st_mtime_ns for f in tmp_path.iterdir()}
    assert set(written) == {"knee.b2nd", "knee_seg.b2nd", "knee.json"}
    assert max(written, key=lambda name: written[name]) == "knee.json"


def test_a_case_cut_short_has_no_record(tmp_path: Path) -> None:
    image, labels = arrays()
    save_case(tmp_path, "knee", image, labels, RECORD, CROP)
    assert stored_key(tmp_path, "knee") == "abc"
    (tmp_path / "blocked_seg.b2nd").mkdir()  # labels cannot be put here: as a kill between the two files
    with pytest.raises(OSError, match="blocked_seg"):
        save_case(tmp_path, "blocked", image, labels, RECORD, CROP)
    assert (tmp_path / "blocked.b2nd").is_file() and stored_key(tmp_path, "blocked") is None
    with pytest.raises(KneeformerError, match=r"blocked\.json: no such file"):
        open_case(tmp_path, "blocked")


def test_a_record_does_not_outlive_its_image(tmp_path: Path) -> None:
    image, labels = arrays()
    save_case(tmp_path, "knee", image, labels, RECORD, CROP)
    (tmp_path / "knee.b2nd").unlink()
    assert stored_key(tmp_path, "knee") is None
    assert stored_key(tmp_path, "other") is None and stored_key(tmp_path / "none", "knee") is None


def test_a_case_that_is_made_again_is_replaced(tmp_path: Path) -> None:
    image, labels = arrays()
    save_case(tmp_path, "knee", image, labels, RECORD, CROP)
    again = RECORD.model_copy(update={"key": "new", "shape": (2, 2, 2)})
    save_case(tmp_path, "knee", image[:, :2, :2, :2], labels[:2, :2, :2], again, CROP)
    case = open_case(tmp_path, "knee")
    assert stored_key(tmp_path, "knee") == "new" and case.image.shape == (2, 2, 2, 2)


def test_a_case_whose_labels_are_gone_forgets_them(tmp_path: Path) -> None:
    image, labels = arrays()
    save_case(tmp_path, "knee", image, labels, RECORD, CROP)
    save_case(tmp_path, "knee", image, None, RECORD, CROP)
    assert open_case(tmp_path, "knee").labels is None


def test_a_damaged_record_names_its_file(tmp_path: Path) -> None:
    (tmp_path / "knee.json").write_text('{"key": ')
    with pytest.raises(KneeformerError, match=r"knee\.json: not valid JSON .* mend it or delete it"):
        open_case(tmp_path, "knee")


def test_points_lie_on_their_structure() -> None:
    labels = np.zeros((5, 20, 30), np.uint8)
    labels[1:4, 5:15, 5:25] = 1
    labels[2, 7, 9:12] = 2
    points = structure_points(labels, {"bone": labels == 1, "spot": labels == 2, "none": labels == 3}, seed=0)
    assert points["none"] == [] and points["spot"] == [(2, 7, 9), (2, 7, 10), (2, 7, 11)]
    assert len(set(points["bone"])) == POINTS_PER_STRUCTURE
    assert all(labels[p] == 1 for p in points["bone"])
    assert points == structure_points(
        labels, {"bone": labels == 1, "spot": labels == 2, "none": labels == 3}, seed=0
    )
