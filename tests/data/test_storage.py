"""Prepared cases on disk."""

import zlib
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from flipped_bits import flip_bit, flipped_bit

from kneeformer.data.disk import DiskError
from kneeformer.data.storage import (
    POINTS_PER_STRUCTURE,
    CaseRecord,
    Origin,
    image_file,
    labels_file,
    open_case,
    present_manifest,
    read_manifest,
    record_file,
    relabel_case,
    save_case,
    structure_points,
    verified_manifest,
)
from kneeformer.errors import KneeformerError
from kneeformer.geometry.aliases import Size

PartOfCase = Callable[[Path, str], Path]
SHAPE = (7, 33, 29)
CROP = (4, 16, 16)
ORIGIN = Origin(settings="abc", files="def")
RECORD = CaseRecord(
    origin=ORIGIN, shape=SHAPE, spacing=(3.0, 0.4375, 1 / 3), orientation="SPL", points={"femur": [(1, 2, 3)]}
)


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
def test_any_crop_size_stores_the_same_voxels(tmp_path: Path, crop: Size) -> None:
    image, labels = (volume[..., :9, :8] for volume in arrays())  # a chunk a voxel takes its time
    save_case(tmp_path, "knee", image, labels, RECORD, crop)
    assert np.array_equal(open_case(tmp_path, "knee").image[:], image)


def test_a_chunk_is_one_channel_and_half_a_crop(tmp_path: Path) -> None:
    image, labels = arrays()
    save_case(tmp_path, "knee", image, labels, RECORD, CROP)
    manifest = read_manifest(tmp_path, "knee")
    assert manifest.image.chunks == (1, 2, 8, 8)
    assert manifest.labels is not None and manifest.labels.chunks == (2, 8, 8)


def test_the_record_is_written_last(tmp_path: Path) -> None:
    image, labels = arrays()
    save_case(tmp_path, "knee", image, labels, RECORD, CROP)
    written = {f.name: f.stat().st_mtime_ns for f in tmp_path.iterdir()}
    assert set(written) == {"knee.b2nd", "labels", "knee.json"}
    assert max(written, key=lambda name: written[name]) == "knee.json"


def test_no_two_names_share_a_file(tmp_path: Path) -> None:
    """K01 and K01_seg did, and names may look like anything that is written beside a case."""
    names = [
        "K01",
        "K01_seg",
        "K01.b2nd",
        "K01.json",
        "labels",
        "labels_K01",
        "_K01",
        "K01_",
        "poses",
        ".K01",
    ]
    for number, name in enumerate(names):
        image = np.full((1, 2, 2, 2), number, np.float32)
        save_case(tmp_path, name, image, image[0].astype(np.uint8), RECORD, CROP)
    for number, name in enumerate(names):
        case = open_case(tmp_path, name)
        assert case.labels is not None
        assert (case.image[0, 0, 0, 0], case.labels[0, 0, 0]) == (number, number)
        verified_manifest(tmp_path, name)


def test_a_case_cut_short_has_no_record(tmp_path: Path) -> None:
    image, labels = arrays()
    labels_file(tmp_path, "blocked").mkdir(parents=True)  # in the way, as a kill between the two files
    with pytest.raises(DiskError, match="blocked"):
        save_case(tmp_path, "blocked", image, labels, RECORD, CROP)
    assert image_file(tmp_path, "blocked").is_file()
    with pytest.raises(KneeformerError, match=r"^not prepared$"):
        read_manifest(tmp_path, "blocked")
    with pytest.raises(KneeformerError, match=r"blocked\.json: not prepared; .* kf_preprocess"):
        open_case(tmp_path, "blocked")


def test_a_case_that_is_made_again_is_replaced(tmp_path: Path) -> None:
    image, labels = arrays()
    save_case(tmp_path, "knee", image, labels, RECORD, CROP)
    again = RECORD.model_copy(update={"shape": (2, 2, 2)})
    save_case(tmp_path, "knee", image[:, :2, :2, :2], labels[:2, :2, :2], again, CROP)
    assert open_case(tmp_path, "knee").image.shape == (2, 2, 2, 2)
    assert verified_manifest(tmp_path, "knee").record == again


def test_other_labels_of_a_case_lie_beside_its_image(tmp_path: Path) -> None:
    image, labels = arrays()
    save_case(tmp_path, "knee", image, labels, RECORD, CROP)
    case, other = open_case(tmp_path, "knee"), {"tibia": [(3, 2, 1)]}
    relabel_case(case, tmp_path / "other", labels[::-1], other, CROP)
    relabelled = open_case(tmp_path, "knee", relabelled=tmp_path / "other")
    assert relabelled.labels is not None and np.array_equal(relabelled.labels[:], labels[::-1])
    assert np.array_equal(relabelled.image[:], image) and relabelled.image.record == case.image.record
    assert relabelled.record == RECORD.model_copy(update={"points": other})
    assert open_case(tmp_path, "knee").record == RECORD
    assert not image_file(tmp_path / "other", "knee").exists()
    file = labels_file(tmp_path / "other", "knee")
    flip_bit(file, 4 * file.stat().st_size)
    with pytest.raises(KneeformerError, match=r"knee\.b2nd: .* remove .*other and resume with --c"):
        relabelled = open_case(tmp_path, "knee", relabelled=tmp_path / "other")
        assert relabelled.labels is not None and relabelled.labels[:]


def test_a_case_whose_labels_are_gone_forgets_them(tmp_path: Path) -> None:
    image, labels = arrays()
    save_case(tmp_path, "knee", image, labels, RECORD, CROP)
    save_case(tmp_path, "knee", image, None, RECORD, CROP)
    assert open_case(tmp_path, "knee").labels is None
    assert not labels_file(tmp_path, "knee").exists()
    assert verified_manifest(tmp_path, "knee").labels is None


@pytest.mark.parametrize("content", ["", "{}", "[]", '{"record": ', "\udcff"])
def test_a_damaged_record_is_told(tmp_path: Path, content: str) -> None:
    image, labels = arrays()
    save_case(tmp_path, "knee", image, labels, RECORD, CROP)
    record_file(tmp_path, "knee").write_bytes(content.encode("utf-8", "surrogateescape"))
    with pytest.raises(KneeformerError, match=r"^the record is damaged$"):
        verified_manifest(tmp_path, "knee")


def test_a_record_of_another_version_is_not_called_damaged(tmp_path: Path) -> None:
    image, labels = arrays()
    save_case(tmp_path, "knee", image, labels, RECORD, CROP)
    file = record_file(tmp_path, "knee")
    rest, _, _ = file.read_bytes().replace(b'"orientation"', b'"axes"').rpartition(b',"crc32":')
    file.write_bytes(rest + b',"crc32":%d}\n' % zlib.crc32(rest + b"}"))
    with pytest.raises(KneeformerError, match=r"^prepared by another version of kneeformer$"):
        read_manifest(tmp_path, "knee")


def test_a_flipped_digit_of_a_record_is_found(tmp_path: Path) -> None:
    """It would be another spacing, or a point that lies elsewhere."""
    image, labels = arrays()
    save_case(tmp_path, "knee", image, labels, RECORD, CROP)
    file = record_file(tmp_path, "knee")
    for at in range(file.stat().st_size - 1):
        with flipped_bit(file, 8 * at), pytest.raises(KneeformerError, match="the record is damaged"):
            read_manifest(tmp_path, "knee")


@pytest.mark.parametrize(("file", "what"), [(image_file, "image"), (labels_file, "label map")])
def test_a_lost_cut_or_damaged_file_is_found(tmp_path: Path, file: PartOfCase, what: str) -> None:
    image, labels = arrays()
    save_case(tmp_path, "knee", image, labels, RECORD, CROP)
    path = file(tmp_path, "knee")
    whole = path.read_bytes()
    for length in (0, 1, len(whole) // 2, len(whole) - 1):
        path.write_bytes(whole[:length])
        with pytest.raises(KneeformerError, match=f"^the prepared {what} is damaged$"):
            present_manifest(tmp_path, "knee")
    path.write_bytes(whole)
    with flipped_bit(path, 4 * len(whole)):
        present_manifest(tmp_path, "knee")
        with pytest.raises(KneeformerError, match=f"^the prepared {what} is damaged$"):
            verified_manifest(tmp_path, "knee")
    path.unlink()
    with pytest.raises(KneeformerError, match=f"^the prepared {what} is missing$"):
        present_manifest(tmp_path, "knee")
    path.write_bytes(whole)
    verified_manifest(tmp_path, "knee")


def test_a_file_that_is_lost_while_it_is_read_names_its_case(tmp_path: Path) -> None:
    image, labels = arrays()
    save_case(tmp_path, "knee", image, labels, RECORD, CROP)
    case, file = open_case(tmp_path, "knee"), image_file(tmp_path, "knee")
    file.write_bytes(file.read_bytes()[:200])
    with pytest.raises(KneeformerError, match=r"knee\.b2nd: .* kf_preprocess"):
        case.image[:]
    with pytest.raises(KneeformerError, match=r"knee\.b2nd: .* kf_preprocess"):
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
