"""Files in and out: values and places kept, bad files refused in words."""

import gzip
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path

import nrrd
import numpy as np
import pytest
import SimpleITK as sitk

from kneeformer.data.geometry import Geometry
from kneeformer.data.images import FILE_ENDINGS, file_ending, read_image, write_image
from kneeformer.errors import KneeformerError

WriteNifti = Callable[..., bytes]
RAMP = np.arange(120, dtype=np.int16).reshape(4, 5, 6)
HEADER = {
    "space": "left-posterior-superior",
    "space directions": np.diag([0.5, 0.6, 3.0]),
    "space origin": [1.0, 2.0, 3.0],
}
PLACE = Geometry((4, 5, 6), (3.0, 0.6, 0.5), (1.0, 2.0, 3.0))

# Largest error of a number after one trip: NIfTI holds places as float32, MetaImage and NRRD as decimals;
# NRRD multiplies spacing and direction, so that the last bit can round.
PRECISION = {".nii": 1e-6, ".nii.gz": 1e-6, ".nrrd": 1e-15, ".seg.nrrd": 1e-15, ".mha": 0, ".mhd": 0}


def refusal(path: Path) -> str:
    """What read_image says about a bad file, without the path before it."""
    with pytest.raises(KneeformerError) as caught:
        read_image(path)
    assert str(caught.value).startswith(f"{path}: ")
    assert "\n" not in str(caught.value)
    return str(caught.value).removeprefix(f"{path}: ")


def write_nrrd(path: Path, array_zyx: np.ndarray, **header: object) -> None:
    nrrd.write(str(path), array_zyx, {**HEADER, **header}, index_order="C")


class TestRoundTrip:
    @pytest.mark.parametrize("ending", FILE_ENDINGS)
    def test_values_and_place(self, tmp_path: Path, oblique: Geometry, ending: str) -> None:
        write_image(tmp_path / f"x{ending}", RAMP, oblique)
        image = read_image(tmp_path / f"x{ending}")
        np.testing.assert_array_equal(image.array, RAMP)
        assert image.array.dtype == RAMP.dtype
        for field in ("spacing", "origin", "direction"):
            written, read = (np.array(getattr(g, field)) for g in (oblique, image.geometry))
            assert (np.abs(read - written) <= PRECISION[ending] * np.maximum(1, np.abs(written))).all()
        assert image.geometry.mismatch(oblique) is None

    @pytest.mark.parametrize("ending", [e for e in FILE_ENDINGS if "nii" not in e])
    def test_a_place_once_read_is_written_to_the_last_digit(
        self, tmp_path: Path, oblique: Geometry, ending: str
    ) -> None:
        files = [tmp_path / f"{i}{ending}" for i in range(4)]
        write_image(files[0], RAMP, oblique)
        for before, after in pairwise(files):
            write_image(after, RAMP, read_image(before).geometry)
        first, last = read_image(files[1]).geometry, read_image(files[3]).geometry
        assert (first.spacing, first.origin) == (last.spacing, last.origin)
        np.testing.assert_allclose(first.direction, last.direction, rtol=0, atol=2**-52)

    @pytest.mark.parametrize("dtype", [np.uint8, np.int16, np.uint16, np.int32, np.float32, np.float64])
    @pytest.mark.parametrize("ending", [".nrrd", ".nii.gz", ".mha"])
    def test_types(self, tmp_path: Path, ending: str, dtype: type) -> None:
        write_image(tmp_path / f"x{ending}", RAMP.astype(dtype), PLACE)
        assert read_image(tmp_path / f"x{ending}").array.dtype == dtype

    def test_nothing_unfinished_is_left(self, tmp_path: Path) -> None:
        write_image(tmp_path / "new" / "x.nii.gz", RAMP, PLACE)
        assert [p.name for p in (tmp_path / "new").iterdir()] == ["x.nii.gz"]


class TestNrrd:
    """bzip2 is valid NRRD that SimpleITK refuses, so that pynrrd reads it."""

    @pytest.mark.parametrize("encoding", ["raw", "gzip", "ascii", "bzip2"])
    def test_both_readers_agree(self, tmp_path: Path, encoding: str) -> None:
        write_nrrd(tmp_path / "x.nrrd", RAMP, encoding=encoding)
        image = read_image(tmp_path / "x.nrrd")
        np.testing.assert_array_equal(image.array, RAMP)
        assert image.geometry == PLACE

    @pytest.mark.parametrize(
        "space",
        [
            "RAS",
            "right-anterior-superior",
            "LAS",
            "left-posterior-superior",
            "scanner-xyz",
            "3D-right-handed",
        ],
    )
    def test_spaces(self, tmp_path: Path, oblique: Geometry, space: str) -> None:
        steps = (np.array(oblique.direction).reshape(3, 3) * oblique.spacing[::-1]).T
        for encoding in ("gzip", "bzip2"):
            header = {"space": space, "space directions": steps, "space origin": oblique.origin}
            write_nrrd(tmp_path / f"{encoding}.nrrd", RAMP, encoding=encoding, **header)
        simple, fallback = (read_image(tmp_path / f"{e}.nrrd").geometry for e in ("gzip", "bzip2"))
        assert simple.mismatch(fallback) is None
        np.testing.assert_allclose(simple.corners(), fallback.corners(), rtol=0, atol=1e-12)

    @pytest.mark.parametrize("encoding", ["gzip", "bzip2"])
    @pytest.mark.parametrize("first", [True, False])
    def test_a_direction_none_beside_the_volume(self, tmp_path: Path, encoding: str, first: bool) -> None:
        """Slicer writes segmentations with a list axis of one layer; its direction is none."""
        nothing, steps = np.full((1, 3), np.nan), np.diag([0.5, 0.6, 3.0])
        kinds = ["domain"] * 3
        write_nrrd(
            tmp_path / "x.seg.nrrd",
            RAMP[..., None] if first else RAMP[None],
            encoding=encoding,
            **{
                "space directions": np.vstack([nothing, steps] if first else [steps, nothing]),
                "kinds": ["list", *kinds] if first else [*kinds, "list"],
            },
        )
        image = read_image(tmp_path / "x.seg.nrrd")
        np.testing.assert_array_equal(image.array, RAMP)
        assert image.geometry == PLACE

    @pytest.mark.parametrize("encoding", ["gzip", "bzip2"])
    def test_layers_of_segments(self, tmp_path: Path, encoding: str) -> None:
        write_nrrd(
            tmp_path / "x.seg.nrrd",
            np.stack([RAMP, RAMP], axis=-1),
            encoding=encoding,
            **{
                "space directions": np.vstack([np.full((1, 3), np.nan), np.diag([0.5, 0.6, 3.0])]),
                "kinds": ["list", "domain", "domain", "domain"],
            },
        )
        assert refusal(tmp_path / "x.seg.nrrd") == (
            "2 values a voxel (RGB, complex, vector or layers of overlapping segments); "
            "write one value a voxel, one file a channel"
        )

    @pytest.mark.parametrize("encoding", ["gzip", "bzip2"])
    def test_spacings_alone(self, tmp_path: Path, encoding: str) -> None:
        nrrd.write(
            str(tmp_path / "x.nrrd"),
            RAMP,
            {"spacings": [0.5, 0.6, 3.0], "encoding": encoding},
            index_order="C",
        )
        assert read_image(tmp_path / "x.nrrd").geometry == Geometry((4, 5, 6), (3.0, 0.6, 0.5))

    def test_no_place_at_all(self, tmp_path: Path) -> None:
        nrrd.write(str(tmp_path / "x.nrrd"), RAMP, {"encoding": "bzip2"}, index_order="C")
        assert read_image(tmp_path / "x.nrrd").geometry == Geometry((4, 5, 6), (1.0, 1.0, 1.0))

    def test_directions_in_a_plane(self, tmp_path: Path) -> None:
        write_nrrd(tmp_path / "x.nrrd", RAMP, encoding="bzip2", **{"space directions": np.ones((3, 3))})
        assert "its space directions are not three independent vectors" in refusal(tmp_path / "x.nrrd")

    def test_two_dimensional(self, tmp_path: Path) -> None:
        nrrd.write(str(tmp_path / "x.nrrd"), RAMP[0], {"encoding": "bzip2"}, index_order="C")
        assert refusal(tmp_path / "x.nrrd").startswith("two-dimensional (size 6 x 5)")

    @pytest.mark.parametrize("encoding", ["raw", "gzip", "bzip2"])
    def test_cut_short(self, tmp_path: Path, encoding: str) -> None:
        noise = np.random.default_rng(0).integers(0, 999, (20, 20, 20))
        write_nrrd(tmp_path / "x.nrrd", noise, encoding=encoding)
        content = (tmp_path / "x.nrrd").read_bytes()
        (tmp_path / "x.nrrd").write_bytes(content[: len(content) * 3 // 4])
        assert refusal(tmp_path / "x.nrrd").startswith("cannot be read (SimpleITK: ")


class TestNifti:
    """SimpleITK alone reads a cut NIfTI as zeros and crashes on the odd ones below."""

    @pytest.mark.parametrize("order", ["<", ">"])
    @pytest.mark.parametrize("packed", [False, True])
    def test_sound(self, tmp_path: Path, write_nifti: WriteNifti, order: str, packed: bool) -> None:
        content = write_nifti(tmp_path / "x.nii", (6, 5, 4), order=order)
        if packed:
            (tmp_path / "x.nii.gz").write_bytes(gzip.compress(content))
        image = read_image(tmp_path / ("x.nii.gz" if packed else "x.nii"))
        assert image.array.shape == (4, 5, 6)
        assert image.array[0, 0, 0] == (0x0201 if order == "<" else 0x0102)

    def test_axes_of_one_are_no_dimensions(self, tmp_path: Path, write_nifti: WriteNifti) -> None:
        write_nifti(tmp_path / "x.nii", (6, 5, 4, 1, 1))
        assert read_image(tmp_path / "x.nii").array.shape == (4, 5, 6)

    @pytest.mark.parametrize("cut", [1, 12, 200])
    def test_cut_short(self, tmp_path: Path, write_nifti: WriteNifti, cut: int) -> None:
        content = write_nifti(tmp_path / "x.nii", (6, 5, 4))
        (tmp_path / "x.nii").write_bytes(content[:-cut])
        assert refusal(tmp_path / "x.nii") == (
            f"cannot be read (cut short: {592 - cut} of 592 bytes); export it again"
        )

    @pytest.mark.parametrize("cut", [1, 9, 100])
    def test_cut_short_and_packed(self, tmp_path: Path, write_nifti: WriteNifti, cut: int) -> None:
        content = gzip.compress(write_nifti(tmp_path / "x.nii", (60, 50, 4)))
        (tmp_path / "x.nii.gz").write_bytes(content[:-cut])
        assert refusal(tmp_path / "x.nii.gz").startswith("cannot be read (cut short or damaged: ")

    def test_packed_but_short_inside(self, tmp_path: Path, write_nifti: WriteNifti) -> None:
        (tmp_path / "x.nii.gz").write_bytes(gzip.compress(write_nifti(tmp_path / "x.nii", (6, 5, 4))[:-12]))
        assert "cut short: 580 of 592 bytes" in refusal(tmp_path / "x.nii.gz")

    def test_one_damaged_byte(self, tmp_path: Path) -> None:
        write_image(tmp_path / "x.nii.gz", np.random.default_rng(0).integers(0, 999, (20, 20, 20)), PLACE)
        content = bytearray((tmp_path / "x.nii.gz").read_bytes())
        content[len(content) // 2] ^= 0xFF
        (tmp_path / "x.nii.gz").write_bytes(content)
        assert refusal(tmp_path / "x.nii.gz").startswith("cannot be read (cut short or damaged: ")

    @pytest.mark.parametrize(
        ("extents", "words"),
        [
            ((6, 5), "two-dimensional (size 6 x 5)"),
            ((6, 5, 1), "two-dimensional (size 6 x 5 x 1)"),
            ((6, 5, 4, 2), "4-dimensional (size 6 x 5 x 4 x 2)"),
            ((6, 5, 4, 1, 3), "5-dimensional (size 6 x 5 x 4 x 1 x 3)"),
            ((6, 5, 4, 2, 2, 2, 2), "7-dimensional (size 6 x 5 x 4 x 2 x 2 x 2 x 2)"),
        ],
    )
    @pytest.mark.parametrize("intent", [0, 1007])
    def test_dimensions(
        self, tmp_path: Path, write_nifti: WriteNifti, extents: tuple[int, ...], words: str, intent: int
    ) -> None:
        write_nifti(tmp_path / "x.nii", extents, intent=intent)
        assert refusal(tmp_path / "x.nii") == f"{words}; write one three-dimensional volume a file"

    @pytest.mark.parametrize(("kind", "bits"), [(128, 24), (2304, 32), (32, 64), (1536, 128)])
    def test_kinds(self, tmp_path: Path, write_nifti: WriteNifti, kind: int, bits: int) -> None:
        write_nifti(tmp_path / "x.nii", (6, 5, 4), kind=kind, bits=bits, intent=1007)
        assert refusal(tmp_path / "x.nii") == (
            f"its voxels are not plain numbers (NIfTI type {kind}: RGB, complex or unknown); "
            "write one file a channel, with one value a voxel"
        )

    def test_damaged_header(self, tmp_path: Path, write_nifti: WriteNifti) -> None:
        write_nifti(tmp_path / "x.nii", (6, 5, 4), start=float("nan"))
        assert refusal(tmp_path / "x.nii") == (
            "cannot be read (damaged header: its voxels start at byte nan); export it again"
        )

    @pytest.mark.parametrize("content", [b"x", b"\x1f\x8bnonsense", bytes(500)])
    def test_no_nifti_at_all(self, tmp_path: Path, content: bytes) -> None:
        (tmp_path / "x.nii.gz").write_bytes(content)
        assert refusal(tmp_path / "x.nii.gz").startswith("cannot be read (")


class TestMetaImage:
    @pytest.mark.parametrize("packed", [False, True])
    @pytest.mark.parametrize("ending", [".mha", ".mhd"])
    def test_cut_short(self, tmp_path: Path, ending: str, packed: bool) -> None:
        sitk.WriteImage(sitk.GetImageFromArray(RAMP), str(tmp_path / f"x{ending}"), packed)
        voxels = next(p for p in tmp_path.iterdir() if p.suffix in {".mha", ".raw", ".zraw"})
        voxels.write_bytes(voxels.read_bytes()[:-30])
        assert refusal(tmp_path / f"x{ending}") == (
            "cannot be read (its voxels are cut short or missing); export it again"
        )

    def test_header_without_voxels(self, tmp_path: Path) -> None:
        write_image(tmp_path / "x.mhd", RAMP, PLACE)
        (tmp_path / "x.zraw").unlink()
        assert refusal(tmp_path / "x.mhd").startswith("cannot be read (")


def test_missing(tmp_path: Path) -> None:
    assert refusal(tmp_path / "x.nrrd") == "no such file"


@pytest.mark.parametrize("ending", FILE_ENDINGS)
def test_empty(tmp_path: Path, ending: str) -> None:
    (tmp_path / f"x{ending}").touch()
    assert refusal(tmp_path / f"x{ending}") == "empty file (0 bytes); export it again"


def test_place_with_nan(tmp_path: Path) -> None:
    write_nrrd(tmp_path / "x.nrrd", RAMP, encoding="bzip2", **{"space origin": [np.nan, 2.0, 3.0]})
    assert refusal(tmp_path / "x.nrrd") == (
        "cannot be read (its spacing, origin or direction holds NaN or infinite numbers); export it again"
    )


def test_endings() -> None:
    assert file_ending(Path("a.seg.nrrd")) == ".seg.nrrd"
    assert file_ending(Path("a.b.nii.gz")) == ".nii.gz"
    with pytest.raises(KneeformerError, match=r"a\.dcm: not an image file; endings known: \.seg\.nrrd, "):
        file_ending(Path("a.dcm"))
