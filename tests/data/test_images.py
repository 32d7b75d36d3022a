"""Files in and out: values and places kept, bad files refused in words."""

import bz2
import gzip
import math
import os
import struct
from collections.abc import Callable
from dataclasses import replace
from itertools import pairwise, permutations, product
from pathlib import Path

import nibabel as nib
import nrrd
import numpy as np
import pytest
import SimpleITK as sitk
from scipy.spatial.transform import Rotation

from kneeformer.data.images import FILE_ENDINGS, Image, file_ending, read_image, write_image
from kneeformer.errors import KneeformerError
from kneeformer.geometry.grid import Grid
from kneeformer.geometry.orientation import ENDS, turn

WriteNifti = Callable[..., bytes]
RAMP = np.arange(120, dtype=np.int16).reshape(4, 5, 6)
HEADER = {
    "space": "left-posterior-superior",
    "space directions": np.diag([0.5, 0.6, 3.0]),
    "space origin": [1.0, 2.0, 3.0],
}
PLACE = Grid((4, 5, 6), (3.0, 0.6, 0.5), (1.0, 2.0, 3.0))

# Where NIfTI-1 has its fields, and their types.
NIFTI_FIELDS = {
    **{"dim0": ("h", 40), "bitpix": ("h", 72), "pixdim": ("4f", 76), "vox_offset": ("f", 108)},
    **{"scl_slope": ("f", 112), "scl_inter": ("f", 116), "xyzt_units": ("B", 123), "qform_code": ("h", 252)},
    **{"sform_code": ("h", 254), "quatern": ("3f", 256), "qoffset": ("3f", 268), "srow": ("12f", 280)},
}

# Largest error of a number after one trip: NIfTI holds places as float32, MetaImage and NRRD as decimals;
# NRRD multiplies spacing and direction, so that the last bit can round.
PRECISION = {
    ".nii": 1e-6,
    ".nii.gz": 1e-6,
    ".nrrd": 1e-15,
    ".nhdr": 1e-15,
    ".seg.nrrd": 1e-15,
    ".mha": 0,
    ".mhd": 0,
}


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
    def test_values_and_place(self, tmp_path: Path, oblique: Grid, ending: str) -> None:
        write_image(tmp_path / f"x{ending}", RAMP, oblique)
        image = read_image(tmp_path / f"x{ending}")
        np.testing.assert_array_equal(image.array, RAMP)
        assert image.array.dtype == RAMP.dtype
        for field in ("spacing", "origin", "direction"):
            written, read = (np.array(getattr(g, field)) for g in (oblique, image.grid))
            assert (np.abs(read - written) <= PRECISION[ending] * np.maximum(1, np.abs(written))).all()
        assert image.grid.mismatch(oblique) is None

    @pytest.mark.parametrize("ending", [e for e in FILE_ENDINGS if "nii" not in e])
    def test_a_place_once_read_is_written_to_the_last_digit(
        self, tmp_path: Path, oblique: Grid, ending: str
    ) -> None:
        files = [tmp_path / f"{i}{ending}" for i in range(4)]
        write_image(files[0], RAMP, oblique)
        for before, after in pairwise(files):
            write_image(after, RAMP, read_image(before).grid)
        first, last = read_image(files[1]).grid, read_image(files[3]).grid
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
    @pytest.mark.parametrize("encoding", ["raw", "gzip", "ascii", "bzip2"])
    def test_encodings(self, tmp_path: Path, encoding: str) -> None:
        write_nrrd(tmp_path / "x.nrrd", RAMP, encoding=encoding)
        image = read_image(tmp_path / "x.nrrd")
        np.testing.assert_array_equal(image.array, RAMP)
        assert image.grid == PLACE

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
    def test_spaces(self, tmp_path: Path, oblique: Grid, space: str) -> None:
        steps = (np.array(oblique.direction).reshape(3, 3) * oblique.spacing[::-1]).T
        for encoding in ("gzip", "bzip2"):
            header = {"space": space, "space directions": steps, "space origin": oblique.origin}
            write_nrrd(tmp_path / f"{encoding}.nrrd", RAMP, encoding=encoding, **header)
        simple, fallback = (read_image(tmp_path / f"{e}.nrrd").grid for e in ("gzip", "bzip2"))
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
        assert image.grid == PLACE

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
            "2 values per voxel (RGB, complex, vector or layers of overlapping segments); "
            "write one value per voxel, one file per channel"
        )

    @pytest.mark.parametrize("encoding", ["gzip", "bzip2"])
    def test_spacings_alone(self, tmp_path: Path, encoding: str) -> None:
        nrrd.write(
            str(tmp_path / "x.nrrd"),
            RAMP,
            {"spacings": [0.5, 0.6, 3.0], "encoding": encoding},
            index_order="C",
        )
        assert read_image(tmp_path / "x.nrrd").grid == Grid((4, 5, 6), (3.0, 0.6, 0.5))

    def test_no_place_at_all(self, tmp_path: Path) -> None:
        nrrd.write(str(tmp_path / "x.nrrd"), RAMP, {"encoding": "bzip2"}, index_order="C")
        assert read_image(tmp_path / "x.nrrd").grid == Grid((4, 5, 6), (1.0, 1.0, 1.0))

    def test_directions_in_a_plane(self, tmp_path: Path) -> None:
        write_nrrd(tmp_path / "x.nrrd", RAMP, encoding="bzip2", **{"space directions": np.ones((3, 3))})
        assert "it must be three independent directions" in refusal(tmp_path / "x.nrrd")

    @pytest.mark.parametrize(("unit", "scale"), [("mm", 1), ("um", 1e-3), ("cm", 10), ("m", 1000), ('""', 1)])
    def test_space_units(
        self, tmp_path: Path, caplog: pytest.LogCaptureFixture, unit: str, scale: float
    ) -> None:
        write_nrrd(tmp_path / "x.nrrd", RAMP, **{"space units": [unit.strip('"')] * 3})
        grid = read_image(tmp_path / "x.nrrd").grid
        assert grid.spacing == pytest.approx((3 * scale, 0.6 * scale, 0.5 * scale), rel=1e-15)
        assert grid.origin == pytest.approx((scale, 2 * scale, 3 * scale), rel=1e-15)
        told = (
            f"x.nrrd: its header is in {unit} (space units); spacing and origin are read as {scale:g} mm each"
        )
        assert (told in caplog.text) == (scale != 1)

    @pytest.mark.parametrize(
        ("fields", "words"),
        [
            ({"space units": ["inch"] * 3}, "space units = inch, but the units known are um, "),
            ({"space units": ["mm", "mm", "um"]}, "space units = mm um, but all axes must have one unit"),
            ({"space directions": np.diag([0.5, 0, 3])}, "but each axis must have a length"),
            ({"space origin": [0, np.inf, 0]}, "space origin = 0.0 inf 0.0, but it must be 3 finite numbers"),
            (
                {"space": "right-anterior-inferior"},
                "space = right-anterior-inferior, but the spaces known are",
            ),
        ],
    )
    def test_wrong_numbers(self, tmp_path: Path, fields: dict[str, object], words: str) -> None:
        write_nrrd(tmp_path / "x.nrrd", RAMP, **fields)
        assert words in refusal(tmp_path / "x.nrrd")

    @pytest.mark.parametrize("spacings", [[0.5, -0.6, 3.0], [0.5, 0.6, 0.0], [0.5, np.nan, 3.0]])
    def test_wrong_spacings(self, tmp_path: Path, spacings: list[float]) -> None:
        nrrd.write(str(tmp_path / "x.nrrd"), RAMP, {"spacings": spacings}, index_order="C")
        assert refusal(tmp_path / "x.nrrd").startswith("its header says spacings = 0.5 ")

    def test_more_lines_to_skip_than_there_are(self, tmp_path: Path) -> None:
        TestDamage.write(tmp_path, f"raw\nline skip: {10**12}", RAMP.tobytes(), detached=False)
        assert refusal(tmp_path / "x.nrrd").startswith("cannot be read (cut short: fewer lines than its line")

    @pytest.mark.parametrize("ending", [".nrrd", ".mha"])
    def test_a_sign_that_became_a_line_end(self, tmp_path: Path, ending: str) -> None:
        write_image(tmp_path / f"x{ending}", RAMP, Grid((4, 5, 6), (1.0, 1.0, 1.0), (-3.0, -4.0, 5.0)))
        content = (tmp_path / f"x{ending}").read_bytes()
        (tmp_path / f"x{ending}").write_bytes(content.replace(b"-4.0", b"\r4.0", 1))
        assert "control characters in " in refusal(tmp_path / f"x{ending}")

    def test_a_misspelt_field(self, tmp_path: Path) -> None:
        """Taken for a comment, it would leave a spacing of 1 mm."""
        write_nrrd(tmp_path / "x.nrrd", RAMP)
        content = (tmp_path / "x.nrrd").read_bytes()
        (tmp_path / "x.nrrd").write_bytes(content.replace(b"space directions", b"spabe directions"))
        assert refusal(tmp_path / "x.nrrd").startswith(
            "cannot be read (damaged header: 'spabe directions: (0.5,"
        )

    def test_two_dimensional(self, tmp_path: Path) -> None:
        nrrd.write(str(tmp_path / "x.nrrd"), RAMP[0], {"encoding": "bzip2"}, index_order="C")
        assert refusal(tmp_path / "x.nrrd").startswith("two-dimensional (size 6 x 5)")

    @pytest.mark.parametrize("encoding", ["raw", "gzip", "bzip2"])
    def test_cut_short(self, tmp_path: Path, encoding: str) -> None:
        noise = np.random.default_rng(0).integers(0, 999, (20, 20, 20))
        write_nrrd(tmp_path / "x.nrrd", noise, encoding=encoding)
        content = (tmp_path / "x.nrrd").read_bytes()
        (tmp_path / "x.nrrd").write_bytes(content[: len(content) * 3 // 4])
        assert refusal(tmp_path / "x.nrrd").startswith("cannot be read (cut short")


class TestNifti:
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
        assert refusal(tmp_path / "x.nii.gz").startswith("cannot be read (")

    @pytest.mark.parametrize(
        ("extents", "words"),
        [
            ((6,), "one-dimensional (size 6)"),
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
        assert refusal(tmp_path / "x.nii") == f"{words}; write one three-dimensional volume per file"

    @pytest.mark.parametrize(("kind", "bits"), [(128, 24), (2304, 32), (32, 64), (1536, 128)])
    def test_kinds(self, tmp_path: Path, write_nifti: WriteNifti, kind: int, bits: int) -> None:
        write_nifti(tmp_path / "x.nii", (6, 5, 4), kind=kind, bits=bits, intent=1007)
        assert refusal(tmp_path / "x.nii") == (
            f"its voxels are not plain numbers (NIfTI type {kind}: RGB, complex or unknown); "
            "write one file per channel, with one value per voxel"
        )

    def test_damaged_header(self, tmp_path: Path, write_nifti: WriteNifti) -> None:
        write_nifti(tmp_path / "x.nii", (6, 5, 4), start=float("nan"))
        assert refusal(tmp_path / "x.nii") == (
            "its header says vox_offset = nan, but it must be a whole number from 352 on; "
            "correct the header or export it again"
        )

    def write(self, path: Path, write_nifti: WriteNifti, **fields: float | tuple[float, ...]) -> None:
        """A sound NIfTI-1 file of (6, 5, 4) voxels with some fields replaced."""
        content = bytearray(write_nifti(path, (6, 5, 4)))
        for name, value in fields.items():
            kind, offset = NIFTI_FIELDS[name]
            struct.pack_into(f"<{kind}", content, offset, *np.ravel(value).tolist())
        path.write_bytes(content)

    @pytest.mark.parametrize(
        ("fields", "words"),
        [
            ({"pixdim": (1, math.nan, 1, 1)}, "pixdim[1..3] = nan 1.0 1.0, but it must be 3 finite numbers"),
            ({"pixdim": (1, 1, 0, 1)}, "pixdim[1..3] = 1.0 0.0 1.0, but it must be above zero"),
            ({"pixdim": (1, 1, 1, -2)}, "pixdim[1..3] = 1.0 1.0 -2.0, but it must be above zero"),
            ({"pixdim": (5, 1, 1, 1), "qform_code": 1}, "pixdim[0] = 5, but it must be -1 or 1"),
            (
                {"quatern": (math.nan, 0, 0), "qform_code": 1},
                "quatern_d = nan 0.0 0.0, but it must be 3 finite",
            ),
            ({"quatern": (1, 1, 0), "qform_code": 1}, "quatern_d = 1 1 0, but a rotation has length 1"),
            (
                {"qoffset": (0, math.inf, 0), "qform_code": 1},
                "qoffset_z = 0.0 inf 0.0, but it must be 3 finite",
            ),
            ({"srow": [math.nan] * 12, "sform_code": 1}, "but it must be 12 finite numbers"),
            ({"srow": [0.0] * 12, "sform_code": 1}, "but each axis must have a length"),
            ({"sform_code": 99}, "sform_code = 99, but it must be 0 to 5"),
            ({"vox_offset": 0}, "vox_offset = 0, but it must be a whole number from 352 on"),
            ({"vox_offset": 348}, "vox_offset = 348, but it must be a whole number from 352 on"),
            ({"vox_offset": 352.5}, "vox_offset = 352.5, but it must be a whole number from 352 on"),
            ({"scl_slope": math.nan}, "scl_slope = nan, but voxels are multiplied by it"),
            ({"scl_slope": 1e-30}, "scl_slope = 1e-30, but voxels are multiplied by it"),
            ({"scl_slope": 2, "scl_inter": math.inf}, "scl_inter = inf, but it is added to voxels"),
            ({"bitpix": 8}, "bitpix = 8, but datatype 4 has 16"),
            ({"xyzt_units": 7}, "xyzt_units = 7, but lengths are in m (1), mm (2) or um (3)"),
            ({"dim0": 0}, "dim[0] = 0, but there are 1 to 7 dimensions"),
        ],
    )
    def test_wrong_numbers(
        self, tmp_path: Path, write_nifti: WriteNifti, fields: dict[str, float], words: str
    ) -> None:
        self.write(tmp_path / "x.nii", write_nifti, **fields)
        assert words in refusal(tmp_path / "x.nii")

    def test_a_slope_of_zero_is_no_scaling(self, tmp_path: Path, write_nifti: WriteNifti) -> None:
        self.write(tmp_path / "x.nii", write_nifti, scl_slope=0, scl_inter=7)
        assert read_image(tmp_path / "x.nii").array[0, 0, 0] == 0x0201

    @pytest.mark.parametrize(("slope", "inter", "first"), [(2, -1024, 0x0201 * 2 - 1024), (-0.5, 0, -256.5)])
    def test_scaling(
        self, tmp_path: Path, write_nifti: WriteNifti, slope: float, inter: float, first: float
    ) -> None:
        self.write(tmp_path / "x.nii", write_nifti, scl_slope=slope, scl_inter=inter)
        assert read_image(tmp_path / "x.nii").array[0, 0, 0] == first

    @pytest.mark.parametrize("ending", [".nii", ".nii.gz"])
    def test_nan_and_infinite_voxels_stay(self, tmp_path: Path, ending: str) -> None:
        array = RAMP.astype(np.float32)
        array[0, 0, :3] = [np.nan, np.inf, -np.inf]
        write_image(tmp_path / f"x{ending}", array, PLACE)
        np.testing.assert_array_equal(read_image(tmp_path / f"x{ending}").array, array)

    @pytest.mark.parametrize("edge", [0.5, 0.75, 2.0])
    def test_the_sform_goes_before_pixdim(
        self, tmp_path: Path, write_nifti: WriteNifti, caplog: pytest.LogCaptureFixture, edge: float
    ) -> None:
        rows = np.diag([-edge, -edge, edge, 1])[:3]
        self.write(tmp_path / "x.nii", write_nifti, srow=rows, sform_code=1)
        assert read_image(tmp_path / "x.nii").grid == Grid((4, 5, 6), (edge, edge, edge))
        assert "its pixdim (1 x 1 x 1 mm along x, y, z) and sform disagree; the sform is used" in caplog.text

    def test_the_sform_goes_before_the_qform(
        self, tmp_path: Path, write_nifti: WriteNifti, caplog: pytest.LogCaptureFixture
    ) -> None:
        rows = np.column_stack([np.diag([-1, -1, 1]), [0, 0, 9]])
        half_a_turn = {"quatern": (0, 0, 1), "qform_code": 1, "sform_code": 1}  # about z: RAS to LPS
        self.write(tmp_path / "x.nii", write_nifti, srow=rows, **half_a_turn)
        assert read_image(tmp_path / "x.nii").grid.origin == (0.0, 0.0, 9.0)
        assert "x.nii: its qform and sform disagree (same size and spacing, but corners 9 mm" in caplog.text
        assert "the sform is used" in caplog.text
        caplog.clear()
        self.write(tmp_path / "x.nii", write_nifti, srow=rows, qoffset=(0, 0, 9), **half_a_turn)
        read_image(tmp_path / "x.nii")
        assert not caplog.text

    def test_neither_form(
        self, tmp_path: Path, write_nifti: WriteNifti, caplog: pytest.LogCaptureFixture
    ) -> None:
        write_nifti(tmp_path / "x.nii", (6, 5, 4))
        assert read_image(tmp_path / "x.nii").grid == Grid((4, 5, 6), (1.0, 1.0, 1.0))
        assert (
            "has neither qform nor sform: its axes are taken as left, posterior and superior" in caplog.text
        )

    def test_both_forms_are_written(self, tmp_path: Path, oblique: Grid) -> None:
        """An independent reader finds one place in both, of a right-handed grid and of a left-handed one."""
        turn = np.array(oblique.direction).reshape(3, 3)
        for cosines in (turn, turn * [1, -1, 1], np.diag([1.0, 1, 1]), np.diag([-1.0, -1, 1])):
            grid = Grid((4, 5, 6), oblique.spacing, oblique.origin, tuple(cosines.ravel().tolist()))
            write_image(tmp_path / "x.nii.gz", RAMP, grid)
            image = nib.load(tmp_path / "x.nii.gz")
            expected = np.diag([-1, -1, 1, 1]) @ grid.to_patient()[:, [2, 1, 0, 3]]
            for affine, code in (image.get_qform(coded=True), image.get_sform(coded=True)):
                assert code == 1
                np.testing.assert_allclose(affine, expected, rtol=2e-6, atol=2e-6)

    @pytest.mark.parametrize("packed", [False, True])
    def test_nifti_2(self, tmp_path: Path, packed: bool) -> None:
        path = tmp_path / ("x.nii.gz" if packed else "x.nii")
        nib.save(nib.Nifti2Image(RAMP.T, np.diag([-0.5, -0.6, 3, 1])), path)
        image = read_image(path)
        np.testing.assert_array_equal(image.array, RAMP)
        assert image.grid == Grid((4, 5, 6), (3.0, 0.6, 0.5))

    @pytest.mark.parametrize("packed", [False, True])
    def test_sizes_beyond_all_memory(self, tmp_path: Path, packed: bool) -> None:
        header = nib.Nifti2Header()
        header.set_data_dtype(np.int16)
        header["dim"] = [3, 2**40, 2**40, 2**40, 1, 1, 1, 1]
        header["vox_offset"] = 544
        content = header.binaryblock + bytes(100)
        path = tmp_path / ("x.nii.gz" if packed else "x.nii")
        path.write_bytes(gzip.compress(content) if packed else content)
        assert refusal(path).startswith("cannot be read (cut short")

    def test_a_header_alone(self, tmp_path: Path, write_nifti: WriteNifti) -> None:
        content = write_nifti(tmp_path / "x.nii", (6, 5, 4))
        (tmp_path / "x.nii").write_bytes(content.replace(b"n+1\0", b"ni1\0"))
        assert refusal(tmp_path / "x.nii").startswith(
            "its voxels lie in another file (.img); write header and"
        )

    def test_more_than_promised(self, tmp_path: Path, write_nifti: WriteNifti) -> None:
        (tmp_path / "x.nii").write_bytes(write_nifti(tmp_path / "x.nii", (6, 5, 4)) + b"1")
        assert refusal(tmp_path / "x.nii").startswith(
            "cannot be read (593 bytes where its header promises 592)"
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
        assert refusal(tmp_path / f"x{ending}").startswith("cannot be read (cut short: ")

    def test_header_without_voxels(self, tmp_path: Path) -> None:
        write_image(tmp_path / "x.mhd", RAMP, PLACE)
        (tmp_path / "x.zraw").unlink()
        assert refusal(tmp_path / "x.mhd").startswith("its voxels are missing: no file ")

    def test_a_header_appears_after_its_voxels(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        """Killed at any renaming, an .mhd is there whole, or not at all; here the second one is refused."""
        write_image(tmp_path / "x.mhd", RAMP, PLACE)
        renamed: list[str] = []
        replace = Path.replace

        def once(self: Path, target: Path) -> Path:
            if renamed:
                raise KeyboardInterrupt
            renamed.append(target.name)
            return replace(self, target)

        monkeypatch.setattr(Path, "replace", once)
        with pytest.raises(KeyboardInterrupt):
            write_image(tmp_path / "x.mhd", RAMP + 1, PLACE)
        assert renamed == ["x.zraw"]
        assert [p.name for p in tmp_path.iterdir()] == ["x.zraw"]

    def test_dimensions_that_do_not_fit(self, tmp_path: Path) -> None:
        """SimpleITK 2.5 spoils its heap and dies of this header."""
        self.write(tmp_path / "x.mha", NDims="73")
        assert refusal(tmp_path / "x.mha") == (
            "its header says NDims = 73, but DimSize is 6 5 4; correct the header or export it again"
        )

    @pytest.mark.parametrize(
        ("key", "value", "words"),
        [
            ("Offset", "1 nan 2", "Offset = 1.0 nan 2.0, but it must be 3 finite numbers"),
            ("Offset", "1 2", "Offset = 1.0 2.0, but it must be 3 finite numbers"),
            ("Offset", "1 x 2", "Offset = 1 x 2, but it must be numbers"),
            ("ElementSpacing", "0.5 0 3", "ElementSpacing = 0.5 0.0 3.0, but it must be above zero"),
            ("ElementSpacing", "0.5 -0.6 3", "ElementSpacing = 0.5 -0.6 3.0, but it must be above zero"),
            ("TransformMatrix", "2 0 0 0 1 0 0 0 1", "but its axes must be of length 1"),
            ("BinaryDataByteOrderMSB", "perhaps", "= perhaps, but it must be True or False"),
            ("DistanceUnits", "inch", "DistanceUnits = inch, but the units known are um, "),
            (
                "ElementToIntensityFunctionSlope",
                "2",
                "ElementToIntensityFunctionSlope = 2, but only 1 is read",
            ),
            ("ElementType", "MET_OTHER", "ElementType = MET_OTHER, but those known are MET_CHAR, "),
        ],
    )
    def test_wrong_numbers(self, tmp_path: Path, key: str, value: str, words: str) -> None:
        self.write(tmp_path / "x.mha", **{key: value})
        assert words in refusal(tmp_path / "x.mha")

    def test_centimetres(self, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
        self.write(tmp_path / "x.mha", DistanceUnits="cm")
        grid = read_image(tmp_path / "x.mha").grid
        assert (grid.spacing, grid.origin) == ((30.0, 6.0, 5.0), (10.0, 20.0, 30.0))
        assert f"{tmp_path / 'x.mha'}: its header is in cm (DistanceUnits)" in caplog.text

    def test_what_is_missing_is_told(self, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
        head = "NDims = 3\nDimSize = 6 5 4\nElementType = MET_SHORT\nElementDataFile = LOCAL\n"
        (tmp_path / "x.mha").write_bytes(head.encode() + RAMP.tobytes())
        assert read_image(tmp_path / "x.mha").grid == Grid((4, 5, 6), (1.0, 1.0, 1.0))
        assert "its header has no ElementSpacing, TransformMatrix, Offset; taken for" in caplog.text

    @staticmethod
    def write(path: Path, **fields: str) -> None:
        header = {
            "NDims": "3",
            "TransformMatrix": "1 0 0 0 1 0 0 0 1",
            "Offset": "1 2 3",
            "ElementSpacing": "0.5 0.6 3",
            "DimSize": "6 5 4",
            "ElementType": "MET_SHORT",
            **fields,
            "ElementDataFile": "LOCAL",
        }
        path.write_bytes("".join(f"{k} = {v}\n" for k, v in header.items()).encode() + RAMP.tobytes())


class TestDamage:
    """Every bit of a compressed file that a checksum covers."""

    @pytest.mark.parametrize("ending", [".nrrd", ".nhdr", ".nii.gz", ".mha", ".mhd"])
    def test_flipped_bits(self, tmp_path: Path, ending: str) -> None:
        rng = np.random.default_rng(0)
        array = rng.integers(0, 99, (3, 4, 5)).astype(np.int16)
        write_image(tmp_path / f"x{ending}", array, Grid((3, 4, 5), (3.0, 0.6, 0.5)))
        file = tmp_path / {".mhd": "x.zraw", ".nhdr": "x.raw.gz"}.get(ending, f"x{ending}")
        content = file.read_bytes()
        start = {".nrrd": content.find(b"\n\n") + 2, ".mha": content.find(b"LOCAL\n") + 6}.get(ending, 0)
        refused = 0
        for position in range(start, len(content)):
            spoilt = bytearray(content)
            spoilt[position] ^= 1 << int(rng.integers(8))
            file.write_bytes(spoilt)
            try:
                np.testing.assert_array_equal(read_image(tmp_path / f"x{ending}").array, array)
            except KneeformerError:
                refused += 1
        # gzip's time stamp, system and flags are covered by no checksum and change no voxel
        assert refused >= len(content) - start - 10

    @pytest.mark.parametrize(
        ("encoding", "pack"),
        [
            ("gzip", gzip.compress),
            ("bzip2", bz2.compress),
            ("raw", bytes),
            ("hex", lambda b: b.hex().encode()),
        ],
    )
    @pytest.mark.parametrize("detached", [False, True])
    def test_sizes(
        self, tmp_path: Path, encoding: str, pack: Callable[[bytes], bytes], detached: bool
    ) -> None:
        """As many bytes as the header promises, no fewer and no more; of one file or of two streams in it."""
        self.write(tmp_path, encoding, pack(RAMP.tobytes()), detached)
        np.testing.assert_array_equal(read_image(tmp_path / "x.nrrd").array, RAMP)
        self.write(tmp_path, encoding, pack(RAMP.tobytes()[:100]) + pack(RAMP.tobytes()[100:]), detached)
        np.testing.assert_array_equal(read_image(tmp_path / "x.nrrd").array, RAMP)
        self.write(tmp_path, encoding, pack(RAMP.tobytes()[:-2]), detached)
        assert refusal(tmp_path / "x.nrrd") == "cannot be read (cut short: 238 of 240 bytes); export it again"
        self.write(tmp_path, encoding, pack(RAMP.tobytes() + b"1"), detached)
        assert "240" in refusal(tmp_path / "x.nrrd")

    @staticmethod
    def write(folder: Path, encoding: str, voxels: bytes, detached: bool) -> None:
        head = f"NRRD0004\ntype: short\ndimension: 3\nsizes: 6 5 4\nendian: little\nencoding: {encoding}\n"
        if detached:
            (folder / "x.raw").write_bytes(voxels)
            (folder / "x.nrrd").write_text(head + "data file: x.raw\n")
        else:
            (folder / "x.nrrd").write_bytes(head.encode() + b"\n" + voxels)


@pytest.mark.parametrize(
    ("fields", "lacking"),
    [
        ("", "space, space directions, space origin, spacings"),
        ("spacings: 1 1 1\n", "space, space directions, space origin"),
        ("space: LPS\nspace directions: (1,0,0) (0,1,0) (0,0,1)\n", "space origin"),
        ("space: LPS\nspace origin: (0,0,0)\nspace directions: (1,0,0) (0,1,0) (0,0,1)\n", ""),
    ],
)
def test_what_the_header_of_an_nrrd_leaves_open_is_told(
    tmp_path: Path, fields: str, lacking: str, caplog: pytest.LogCaptureFixture
) -> None:
    """pynrrd writes an array without any place, which was read as voxels of 1 mm in silence."""
    head = f"NRRD0004\ntype: short\ndimension: 3\nsizes: 6 5 4\nendian: little\nencoding: raw\n{fields}\n"
    (tmp_path / "x.nrrd").write_bytes(head.encode() + RAMP.tobytes())
    assert read_image(tmp_path / "x.nrrd").grid == Grid((4, 5, 6), (1.0, 1.0, 1.0))
    taken = "taken for what is missing: spacing 1 mm, the patient's axes, origin 0"
    assert caplog.messages == (
        [f"{tmp_path}/x.nrrd: its header has no {lacking}; {taken}"] if lacking else []
    )


class TestVoxelsBesideTheHeader:
    """Of .nhdr and .mhd: in a file that the header names, in its folder or below."""

    NHDR = "NRRD0004\ntype: short\ndimension: 3\nsizes: 6 5 4\nendian: little\nencoding: raw\ndata file: "
    MHD = "NDims = 3\nDimSize = 6 5 4\nElementType = MET_SHORT\nElementDataFile = "

    @pytest.mark.parametrize(("ending", "header"), [(".nhdr", NHDR), (".mhd", MHD)])
    def test_only_there(self, tmp_path: Path, ending: str, header: str) -> None:
        folder = tmp_path / "scans"
        (folder / "raw").mkdir(parents=True)
        (folder / "raw" / "a.raw").write_bytes(RAMP.tobytes())
        (tmp_path / "a.raw").write_bytes(RAMP.tobytes())
        file = folder / f"a{ending}"
        file.write_text(f"{header}raw/a.raw\n")
        np.testing.assert_array_equal(read_image(file).array, RAMP)
        for outside in ("../a.raw", str(tmp_path / "a.raw"), "raw/../../a.raw"):
            file.write_text(f"{header}{outside}\n")
            assert refusal(file).startswith("its voxels lie outside its folder")
        (folder / "LISTER.raw").write_bytes(RAMP.tobytes())
        file.write_text(f"{header}LISTER.raw\n")
        np.testing.assert_array_equal(read_image(file).array, RAMP)
        file.write_text(f"{header}LIST 2\n")
        assert refusal(file).startswith("its voxels lie in several files")
        file.write_text(f"{header}b.raw\n")
        assert refusal(file).startswith(f"its voxels are missing: no file {folder / 'b.raw'}")

    def test_an_independent_reader_agrees(self, tmp_path: Path, oblique: Grid) -> None:
        write_image(tmp_path / "a.nhdr", RAMP, oblique)
        array, header = nrrd.read(str(tmp_path / "a.nhdr"), index_order="C")
        np.testing.assert_array_equal(array, RAMP)
        np.testing.assert_allclose(header["space origin"], oblique.origin, rtol=1e-15)
        assert {p.name for p in tmp_path.iterdir()} == {"a.nhdr", "a.raw.gz"}


class TestSheared:
    """Two axes at 70 degrees: a CT of a gantry tilted by 20."""

    STEPS = np.array([[1.0, 0, 0], [0, 1.0, 0], [0, math.sin(math.radians(20)), math.cos(math.radians(20))]])

    def test_every_format_refuses(self, tmp_path: Path) -> None:
        write_nrrd(tmp_path / "x.nrrd", RAMP, **{"space directions": self.STEPS})
        TestMetaImage.write(tmp_path / "x.mha", TransformMatrix=" ".join(map(str, self.STEPS.ravel())))
        affine = np.vstack([np.column_stack([self.STEPS.T, [0, 0, 0]]), [0, 0, 0, 1]])
        image = nib.Nifti1Image(RAMP.T, None)
        image.set_sform(affine, 1)
        nib.save(image, tmp_path / "x.nii")
        for ending in (".nrrd", ".mha", ".nii"):
            words = refusal(tmp_path / f"x{ending}")
            assert words.startswith("a sheared grid: two of its axes (")
            assert ") meet at 70 degrees instead of 90, as in CT with a tilted gantry; resample it" in words

    def test_rounded_axes_are_straightened(self, tmp_path: Path) -> None:
        steps = self.STEPS.copy()
        steps[2] = [0, 5e-4, 1]
        write_nrrd(tmp_path / "x.nrrd", RAMP, **{"space directions": steps})
        cosines = np.array(read_image(tmp_path / "x.nrrd").grid.direction).reshape(3, 3)
        np.testing.assert_allclose(cosines.T @ cosines, np.eye(3), atol=1e-15)
        np.testing.assert_allclose(cosines, steps.T, atol=5e-4)

    def test_no_grid_is_sheared(self) -> None:
        with pytest.raises(ValueError, match="axes of length 1 at right angles"):
            Grid((4, 5, 6), (1.0, 1.0, 1.0), direction=tuple(self.STEPS.T.ravel().tolist()))

    @pytest.mark.parametrize("ending", FILE_ENDINGS)
    def test_left_handed_grids_are_kept(self, tmp_path: Path, ending: str) -> None:
        left = Grid((4, 5, 6), (3.0, 0.5, 0.25), (1.0, 2.0, 3.0), (0, -1, 0, -1, 0, 0, 0, 0, 1))
        assert np.linalg.det(np.array(left.direction).reshape(3, 3)) == -1 * -1 * -1
        write_image(tmp_path / f"x{ending}", RAMP, left)
        assert read_image(tmp_path / f"x{ending}").grid == left


class TestNames:
    @pytest.mark.parametrize("stem", ["a\nb", os.fsdecode(b"a\xff"), "a b", "ä", "a%d", "Lister", "LISTER"])
    @pytest.mark.parametrize("ending", FILE_ENDINGS)
    def test_any_name(self, tmp_path: Path, stem: str, ending: str) -> None:
        path = tmp_path / os.fsdecode(b"folder\xfe\n") / f"{stem}{ending}"
        if ending in {".mhd", ".nhdr"} and stem in {"a\nb", "a%d", "LISTER"}:
            with pytest.raises(KneeformerError, match=rf"which a \{ending} cannot hold; rename it"):
                write_image(path, RAMP, PLACE)
            return
        write_image(path, RAMP, PLACE)
        np.testing.assert_array_equal(read_image(path).array, RAMP)


@pytest.mark.parametrize("ending", [".nii.gz", ".nrrd", ".mha"])
def test_label_maps_are_small(ending: str, tmp_path: Path) -> None:
    z, y, x = np.mgrid[-18:18, -160:160, -160:160]
    ball = ((z / 16) ** 2 + (y / 140) ** 2 + (x / 140) ** 2 < 1).astype(np.uint8)
    path = tmp_path / f"ball{ending}"
    write_image(path, ball, Grid(ball.shape, (3.0, 0.6, 0.5)))
    assert path.stat().st_size < 0.6 * len(gzip.compress(ball.tobytes(), 2))
    np.testing.assert_array_equal(sitk.GetArrayFromImage(sitk.ReadImage(path)), ball)


def test_missing(tmp_path: Path) -> None:
    assert refusal(tmp_path / "x.nrrd") == "no such file"


@pytest.mark.parametrize("ending", FILE_ENDINGS)
def test_empty(tmp_path: Path, ending: str) -> None:
    (tmp_path / f"x{ending}").touch()
    assert refusal(tmp_path / f"x{ending}") == "empty file (0 bytes); export it again"


def test_place_with_nan(tmp_path: Path) -> None:
    write_nrrd(tmp_path / "x.nrrd", RAMP, encoding="bzip2", **{"space origin": [np.nan, 2.0, 3.0]})
    assert refusal(tmp_path / "x.nrrd") == (
        "its header says space origin = nan 2.0 3.0, but it must be 3 finite numbers; "
        "correct the header or export it again"
    )


def test_endings() -> None:
    assert file_ending(Path("a.seg.nrrd")) == ".seg.nrrd"
    assert file_ending(Path("a.b.nii.gz")) == ".nii.gz"
    with pytest.raises(KneeformerError, match=r"a\.dcm: not an image file; endings known: \.seg\.nrrd, "):
        file_ending(Path("a.dcm"))


def test_an_image_is_reoriented_to_a_grid_of_the_same_voxels_and_to_no_other() -> None:
    oblique = tuple(Rotation.from_euler("xyz", (12, -9, 20), degrees=True).as_matrix().ravel().tolist())
    grid = Grid((3, 4, 5), (3.0, 0.5, 0.4), (4.0, -2.0, 9.0), oblique)
    array = np.arange(60, dtype=np.int16).reshape(grid.shape)
    for orientation in ("".join(ends) for lines in permutations(ENDS) for ends in product(*lines)):
        stored = Image(turn(array, grid.orientation(), orientation), grid.turned(orientation))
        found = stored.reoriented_to(grid)
        assert found.grid.mismatch(grid) is None and np.array_equal(found.array, array)
        moved = replace(grid, origin=(4.0, -2.0, 9.1))
        assert stored.reoriented_to(moved) is stored


def test_an_image_that_lies_as_it_should_is_not_copied() -> None:
    """A check of k-space would else hold it twice."""
    grid = Grid((3, 4, 5), (3.0, 0.5, 0.4))
    stored = Image(np.moveaxis(np.zeros((3, 2, 4, 5), np.complex64), 1, 0), grid)
    assert stored.reoriented_to(grid) is stored


@pytest.mark.parametrize("ending", [".nrrd", ".nii.gz"])
def test_all_48_orientations_survive_the_file(tmp_path: Path, ending: str) -> None:
    oblique = tuple(Rotation.from_euler("xyz", (12, -9, 20), degrees=True).as_matrix().ravel().tolist())
    grid = Grid((3, 4, 5), (3.0, 0.5, 0.4), (4.0, -2.0, 9.0), oblique)
    array = np.arange(60, dtype=np.int16).reshape(grid.shape)
    for orientation in ("".join(ends) for lines in permutations(ENDS) for ends in product(*lines)):
        file, stored = tmp_path / f"{orientation}{ending}", grid.turned(orientation)
        write_image(file, np.ascontiguousarray(turn(array, grid.orientation(), orientation)), stored)
        image = read_image(file)
        assert image.grid.orientation() == orientation and image.grid.mismatch(stored) is None
        assert np.array_equal(turn(image.array, orientation, grid.orientation()), array)
