"""ISMRMRD raw files, written by its own package: readouts find their places, what is no image stays out."""

import logging
from pathlib import Path
from typing import Any

import ismrmrd
import numpy as np
import pytest

from kneeformer.data.images import Image, read_image
from kneeformer.errors import KneeformerError
from kneeformer.geometry.grid import Grid
from kneeformer.kspace.fourier import to_kspace

COILS, SLICES, ROWS, COLUMNS = 2, 3, 16, 10
HEADER = """<?xml version="1.0"?><ismrmrdHeader xmlns="http://www.ismrm.org/ISMRMRD"><encoding>
<encodedSpace><matrixSize><x>16</x><y>10</y><z>{z}</z></matrixSize>
<fieldOfView_mm><x>32</x><y>15</y><z>{thick}</z></fieldOfView_mm></encodedSpace>
<reconSpace><matrixSize><x>8</x><y>8</y><z>1</z></matrixSize>
<fieldOfView_mm><x>16</x><y>12</y><z>{thick}</z></fieldOfView_mm></reconSpace>
<trajectory>{trajectory}</trajectory><encodingLimits>
<kspace_encoding_step_1><minimum>0</minimum><maximum>7</maximum><center>{centre}</center></kspace_encoding_step_1>
</encodingLimits></encoding></ismrmrdHeader>"""


def header(z: int = 1, thick: float = 3, centre: int = 4, trajectory: str = "cartesian") -> str:
    return HEADER.format(z=z, thick=thick, centre=centre, trajectory=trajectory)


def samples(seed: int = 0) -> np.ndarray:
    """(coils, slices, rows, columns) of a block; the columns 1 to 8 are measured, as steps 0 to 7."""
    rng = np.random.default_rng(seed)
    image = np.zeros((COILS, SLICES, ROWS, COLUMNS), np.complex64)
    image[..., 5:11, 3:7] = rng.random((COILS, SLICES, 6, 4)) + 1j * rng.random((COILS, SLICES, 6, 4))
    kspace = to_kspace(image)
    kspace[..., 0], kspace[..., 9] = 0, 0
    return kspace


def readout(
    line: np.ndarray, step: int, number: int, flags: tuple[int, ...] = (), **fields: Any
) -> ismrmrd.Acquisition:
    """A readout of a slice that lies `number` x 4 mm along a direction of slices."""
    acquisition = ismrmrd.Acquisition.from_array(np.ascontiguousarray(line), center_sample=ROWS // 2)
    acquisition.idx.kspace_encode_step_1, acquisition.idx.slice = step, number
    acquisition.read_dir[:], acquisition.phase_dir[:], acquisition.slice_dir[:] = (
        (0, 0, -1),
        (0, 1, 0),
        (1, 0, 0),
    )
    acquisition.position[:] = (10 + 4 * number, 20, 30)
    for name, value in fields.items():
        if hasattr(acquisition.idx, name):
            setattr(acquisition.idx, name, value)
        else:
            setattr(acquisition, name, value)
    for flag in flags:
        acquisition.set_flag(flag)
    return acquisition


def scan(kspace: np.ndarray) -> list[ismrmrd.Acquisition]:
    """Readouts of columns 1 to 8 of each slice, in an order of their own."""
    found = [readout(kspace[:, z, :, y + 1], y, z) for z in range(kspace.shape[1]) for y in range(8)]
    return [found[i] for i in np.random.default_rng(1).permutation(len(found))]


def write(path: Path, acquisitions: list[ismrmrd.Acquisition], xml: str = HEADER) -> Path:
    with ismrmrd.Dataset(path, mode="w") as file:
        file.write_xml_header(xml.encode())
        for acquisition in acquisitions:
            file.append_acquisition(acquisition)
    return path


def read(path: Path, acquisitions: list[ismrmrd.Acquisition], xml: str | None = None) -> Image:
    return read_image(write(path / "a.h5", acquisitions, header() if xml is None else xml))


def test_readouts_are_placed_by_their_encoding_steps_and_what_was_not_measured_is_zero(
    tmp_path: Path,
) -> None:
    kspace = samples()
    image = read(tmp_path, scan(kspace))
    assert image.array.dtype == np.complex64
    np.testing.assert_array_equal(image.array, kspace)


def test_the_file_is_not_touched(tmp_path: Path) -> None:
    file = write(tmp_path / "a.h5", scan(samples()), header())
    file.chmod(0o444)
    before = file.read_bytes()
    read_image(file)
    assert file.read_bytes() == before


def test_the_grid_lies_in_the_patient_and_has_no_oversampling(tmp_path: Path) -> None:
    """Rows lead to inferior, columns to posterior, slices to left; the voxel n // 2 lies at the position."""
    image = read(tmp_path, scan(samples()))
    assert image.grid.shape == (3, 8, 8) and image.grid.spacing == (4.0, 2.0, 1.5)
    assert image.grid.orientation() == "LIP" and not image.facts
    middle = image.grid.to_patient() @ (1, 4, 4, 1)
    np.testing.assert_allclose(middle[:3], (14, 20, 30), atol=1e-5)


def test_slices_are_ordered_along_their_direction(tmp_path: Path) -> None:
    kspace = samples()
    backwards = [readout(kspace[:, z, :, y + 1], y, 2 - z) for z in range(3) for y in range(8)]
    for acquisition in backwards:
        acquisition.position[0] = 10 - 4 * acquisition.idx.slice
    image = read(tmp_path, backwards)
    np.testing.assert_array_equal(image.array, kspace)
    np.testing.assert_allclose((image.grid.to_patient() @ (0, 4, 4, 1))[:3], (2, 20, 30), atol=1e-5)


@pytest.mark.parametrize("flag", [19, 20, 23, 24, 26, 27, 28, 29, 30, 31])
def test_what_measured_no_image_is_left_out(
    tmp_path: Path, flag: int, caplog: pytest.LogCaptureFixture
) -> None:
    kspace = samples()
    loud = readout(np.full((5, 7), 1e6, np.complex64), 200, 99, (flag,))
    with caplog.at_level(logging.INFO):
        image = read(tmp_path, [loud, *scan(kspace), loud])
    np.testing.assert_array_equal(image.array, kspace)
    assert "readouts left out" in caplog.text and caplog.text.rstrip().endswith(" 2")


def test_lines_that_calibrate_and_image_are_kept(tmp_path: Path) -> None:
    kspace = samples()
    acquisitions = scan(kspace)
    for acquisition in acquisitions[::2]:
        acquisition.set_flag(ismrmrd.ACQ_IS_PARALLEL_CALIBRATION_AND_IMAGING)
    np.testing.assert_array_equal(read(tmp_path, acquisitions).array, kspace)


@pytest.mark.parametrize(("mode", "kept"), [("embedded", True), ("separate", False)])
def test_embedded_calibration_is_a_part_of_the_image(tmp_path: Path, mode: str, kept: bool) -> None:
    """Columns 1, 3, 5, 7 are the undersampled scan, 4 and 6 calibrate it."""
    kspace = samples()
    kspace[..., [2, 8]] = 0
    acquisitions = [a for a in scan(kspace) if a.idx.kspace_encode_step_1 not in (1, 7)]
    for acquisition in acquisitions:
        if acquisition.idx.kspace_encode_step_1 in (3, 5):
            acquisition.set_flag(ismrmrd.ACQ_IS_PARALLEL_CALIBRATION)
    parallel = f"<parallelImaging><calibrationMode>{mode}</calibrationMode></parallelImaging></encoding>"
    found = read(tmp_path, acquisitions, header().replace("</encoding>", parallel)).array
    kspace[..., [4, 6]] *= kept
    np.testing.assert_array_equal(found, kspace)


def test_discarded_samples_are_cut_and_reversed_lines_turned_round(tmp_path: Path) -> None:
    kspace = samples()
    junk = np.full((COILS, 3), 99, np.complex64)
    acquisitions = [
        readout(
            np.concatenate([junk, np.array(a.data)[:, ::-1], junk[:, :2]], 1),
            a.idx.kspace_encode_step_1,
            a.idx.slice,
            (ismrmrd.ACQ_IS_REVERSE,),
            discard_pre=3,
            discard_post=2,
            center_sample=11,
        )
        if a.idx.kspace_encode_step_1 % 2
        else a
        for a in scan(kspace)
    ]
    np.testing.assert_array_equal(read(tmp_path, acquisitions).array, kspace)


def test_a_partial_echo_has_its_centre_in_the_middle(tmp_path: Path) -> None:
    kspace = samples()
    kspace[:, :, :5] = 0
    short = [
        readout(kspace[:, z, 5:, y + 1], y, z, center_sample=ROWS // 2 - 5)
        for z in range(SLICES)
        for y in range(8)
    ]
    np.testing.assert_array_equal(read(tmp_path, short).array, kspace)


def test_averages_are_averaged(tmp_path: Path) -> None:
    kspace = samples()
    twice = [
        readout((1 + sign * 0.5) * kspace[:, 0, :, y + 1], y, 0, average=average)
        for y in range(8)
        for average, sign in ((0, 1), (1, -1))
    ]
    np.testing.assert_allclose(read(tmp_path, twice).array, kspace[:, :1], rtol=1e-6)


def test_partitions_of_a_3d_scan_are_an_axis_of_kspace(tmp_path: Path) -> None:
    """With no limits of the second step its middle is the zero frequency."""
    kspace = samples()
    acquisitions = [
        readout(kspace[:, z, :, y + 1], y, 0, kspace_encode_step_2=z) for z in range(SLICES) for y in range(8)
    ]
    image = read(tmp_path, acquisitions, header(z=3, thick=6))
    np.testing.assert_array_equal(image.array, kspace[:, None])
    assert image.grid.spacing == (2.0, 2.0, 1.5) and image.grid.shape == (3, 8, 8)
    np.testing.assert_allclose((image.grid.to_patient() @ (1, 4, 4, 1))[:3], (10, 20, 30), atol=1e-5)


def test_a_file_that_does_not_tell_how_the_patient_lay_is_said_not_to(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    acquisitions = scan(samples())
    for acquisition in acquisitions:
        for name in ("position", "read_dir", "phase_dir", "slice_dir"):
            getattr(acquisition, name)[:] = (0, 0, 0)
    image = read(tmp_path, acquisitions)
    assert image.grid == Grid((3, 8, 8), (3.0, 2.0, 1.5)) and image.facts == {"orientation": "unknown"}
    assert "give no patient orientation" in caplog.text


@pytest.mark.parametrize(
    ("spoilt", "xml", "said"),
    [
        ({}, header(trajectory="radial"), "trajectory is radial"),
        ({"repetition": 1}, header(), "holds 2 repetitions"),
        ({"contrast": 1}, header(), "holds 2 contrasts"),
        ({"kspace_encode_step_1": 9}, header(), "outside the 10 of its header"),
        ({"kspace_encode_step_1": 0}, header(centre=6), "outside the 10 of its header"),
        ({"discard_pre": 16}, header(), "readout of 0 samples"),
        ({"discard_pre": 2, "center_sample": 0}, header(), "does not fit into the 16"),
        ({"slice_dir": (0, 0, 1)}, header(), "lie in different directions"),
        ({"slice": 7, "position": (90, 20, 30)}, header(), "even distances"),
        ({}, header(z=4), "3 slabs"),
        ({}, "<a/>", "says nothing for encodedSpace/matrixSize/z"),
        ({}, header(thick=0), "field of view of 32 x 15 x 0 mm"),
        ({}, "<x>", "not XML"),
    ],
)
def test_a_file_that_cannot_be_read_is_refused_in_a_sentence(
    tmp_path: Path, spoilt: dict[str, Any], xml: str, said: str
) -> None:
    acquisitions = scan(samples())
    for name, value in spoilt.items():
        if hasattr(acquisitions[0].idx, name):
            setattr(acquisitions[0].idx, name, value)
        elif isinstance(value, tuple):
            getattr(acquisitions[0], name)[:] = value
        else:
            setattr(acquisitions[0], name, value)
    with pytest.raises(KneeformerError, match=said):
        read(tmp_path, acquisitions, xml)


def test_a_file_of_calibration_alone_or_cut_short_is_refused(tmp_path: Path) -> None:
    with pytest.raises(KneeformerError, match=r"no readout of an image \(noise 1\)"):
        read(tmp_path, [readout(np.ones((2, 16), np.complex64), 0, 0, (ismrmrd.ACQ_IS_NOISE_MEASUREMENT,))])
    file = write(tmp_path / "b.h5", scan(samples()), header())
    file.write_bytes(file.read_bytes()[:-3000])
    with pytest.raises(KneeformerError, match="not a whole HDF5 file"):
        read_image(file)
