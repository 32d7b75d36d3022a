"""Raw k-space in fastMRI's HDF5 layout: read with its odd cases, or refused in a sentence."""

import logging
import resource
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest

from kneeformer.data.check import check_case
from kneeformer.data.dataset import case_folder
from kneeformer.data.description import DatasetDescription
from kneeformer.data.images import read_image, write_image
from kneeformer.errors import KneeformerError
from kneeformer.geometry.grid import Grid
from kneeformer.kspace.fourier import centre_crop, root_sum_of_squares, to_image, to_kspace

DESCRIPTION = DatasetDescription.model_validate(
    {"task": "reconstruction", "channel_names": {"0": "kspace"}, "labels": {}, "file_ending": ".h5"}
)
HEADER = """<?xml version="1.0"?><ismrmrdHeader xmlns="http://www.ismrm.org/ISMRMRD"><encoding><encodedSpace>
<matrixSize><x>{rows}</x><y>{columns}</y><z>1</z></matrixSize>
<fieldOfView_mm><x>160</x><y>90</y><z>3.5</z></fieldOfView_mm></encodedSpace><reconSpace>
<matrixSize><x>{size}</x><y>{size}</y><z>1</z></matrixSize></reconSpace><encodingLimits>
<kspace_encoding_step_1><minimum>0</minimum><maximum>{last}</maximum><center>{centre}</center>
</kspace_encoding_step_1></encodingLimits></encoding></ismrmrdHeader>"""


def samples(coils: int = 2, columns: int = 18, seed: int = 0) -> np.ndarray:
    """(3 slices, coils, 32 rows, columns): a block with a phase, seen by coils."""
    rng = np.random.default_rng(seed)
    image = np.zeros((3, coils, 32, columns), np.complex64)
    image[..., 10:22, 4:14] = rng.random((3, coils, 12, 10)) * np.exp(1j * np.arange(10) / 5)
    return to_kspace(image)


def write(path: Path, kspace: np.ndarray, header: str | None = None, **datasets: Any) -> Path:
    with h5py.File(path, "w") as file:
        file["kspace"] = kspace
        if header is not None:
            file["ismrmrd_header"] = header
        for name, content in datasets.items():
            file[name] = content
    return path


def header(columns: int = 18, size: int = 16, last: int = 15, centre: int = 8) -> str:
    return HEADER.format(rows=32, columns=columns, size=size, last=last, centre=centre)


def test_coils_come_first_and_the_grid_is_that_of_the_reconstruction(tmp_path: Path) -> None:
    kspace = samples()
    image = read_image(write(tmp_path / "a.h5", kspace, header()))
    assert image.array.dtype == np.complex64 and image.array.shape == (2, 3, 32, 18)
    assert image.grid == Grid((3, 16, 16), (3.5, 5.0, 5.0))
    found = centre_crop(root_sum_of_squares(to_image(image.array)), (16, 16))
    kspace[..., :1], kspace[..., 17:] = 0, 0
    true = np.sqrt((abs(to_image(kspace)) ** 2).sum(1))[:, 8:24, 1:17]
    np.testing.assert_allclose(found, true, atol=1e-6)


def test_padding_is_told_by_the_header_and_never_counts_as_measured(tmp_path: Path) -> None:
    """left = encoded / 2 - centre, right = left + maximum + 1."""
    image = read_image(write(tmp_path / "a.h5", samples() + 1, header(last=12, centre=6)))
    measured = np.flatnonzero(image.array.any((0, 1, 2)))
    assert measured.tolist() == list(range(3, 16))


def test_one_coil_has_no_axis_in_the_file_and_one_here(tmp_path: Path) -> None:
    assert read_image(write(tmp_path / "a.h5", samples(1)[:, 0], header())).array.shape == (1, 3, 32, 18)


@pytest.mark.parametrize(
    ("datasets", "size"), [({"reconstruction_rss": np.zeros((3, 12, 14))}, (12, 14)), ({}, (18, 18))]
)
def test_a_file_without_a_header_is_read_by_rules_that_are_told(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, datasets: dict[str, Any], size: tuple[int, int]
) -> None:
    with caplog.at_level(logging.WARNING):
        image = read_image(write(tmp_path / "a.h5", samples(), **datasets))
    assert image.grid == Grid((3, *size), (1.0, 1.0, 1.0))
    assert "spacing is taken as 1 mm" in caplog.text


def test_fewer_columns_than_the_reconstruction_wants_make_a_square(tmp_path: Path) -> None:
    image = read_image(write(tmp_path / "a.h5", samples(), header(size=20)))
    assert image.grid.shape == (3, 18, 18)


def test_a_file_of_the_test_split_keeps_its_unmeasured_columns_at_zero(tmp_path: Path) -> None:
    kspace, mask = samples(), np.arange(18) % 3 == 0
    image = read_image(write(tmp_path / "a.h5", kspace * mask, header(last=17, centre=9), mask=mask))
    assert (image.array.any((0, 1, 2)) == mask).all()


@pytest.mark.parametrize(
    ("spoil", "said"),
    [
        (lambda p: p.write_bytes(p.read_bytes()[: p.stat().st_size // 2]), "not a whole HDF5 file"),
        (lambda p: p.write_bytes(b"no HDF5 at all"), "not a whole HDF5 file"),
        (lambda p: h5py.File(p, "w").create_dataset("volume", data=[1]), "no array `kspace`, but volume"),
        (lambda p: h5py.File(p, "w").create_group("kspace/real"), "no array `kspace`, but kspace"),
        (lambda p: write(p, abs(samples())), "`kspace` is float32 of 3 x 2 x 32 x 18"),
        (lambda p: write(p, samples() * np.nan), "NaN or infinite"),
        (lambda p: write(p, samples() * 0), "all zero"),
        (lambda p: write(p, samples(), "<x>"), "is not XML"),
        (lambda p: write(p, samples(), "<!DOCTYPE a [<!ENTITY b 'c'>]><a/>"), "XML entities"),
        (lambda p: write(p, samples(), header().replace("160", "wide")), "'wide' for encodedSpace"),
        (lambda p: write(p, samples(), "<a/>"), "nothing for encodedSpace/matrixSize/y"),
    ],
)
def test_a_file_that_cannot_be_read_is_refused_in_a_sentence(tmp_path: Path, spoil: Any, said: str) -> None:
    path = write(tmp_path / "a.h5", samples(), header())
    spoil(path)
    with pytest.raises(KneeformerError, match=said) as caught:
        read_image(path)
    assert str(path) in str(caught.value)


def test_kspace_is_not_written(tmp_path: Path) -> None:
    with pytest.raises(KneeformerError, match="read, not written"):
        write_image(tmp_path / "a.h5", samples(), Grid((3, 16, 16), (1.0, 1.0, 1.0)))


def test_a_case_is_one_file_with_or_without_a_channel_number(tmp_path: Path) -> None:
    for name in ("a.h5", "b_0000.h5", "c.nrrd"):
        write(tmp_path / name, samples(), header())
    found = case_folder(tmp_path, DESCRIPTION)
    assert [(c.name, c.images[0].name) for c in found.cases] == [("a", "a.h5"), ("b", "b_0000.h5")]
    write(tmp_path / "b.h5", samples(), header())
    assert "are one case; keep one" in case_folder(tmp_path, DESCRIPTION).duplicates[0]
    checked = check_case(found.cases[0], DESCRIPTION)
    assert not checked.problems and checked.images is not None and checked.images.shape == (2, 3, 32, 18)


def test_memory_is_flat_over_two_hundred_files(tmp_path: Path) -> None:
    """Each file that is kept would take 0.6 MB."""
    file = write(tmp_path / "a.h5", np.tile(samples(), (1, 1, 1, 20)), header(columns=360))
    for _ in range(20):
        read_image(file)
    before = peak_memory_mb()
    for _ in range(200):
        read_image(file)
    assert peak_memory_mb() - before < 20


def peak_memory_mb() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
