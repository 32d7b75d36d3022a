"""Raw Cartesian k-space in the format of ISMRMRD (Inati et al. 2017).

A group of the file holds the XML header in `xml` and, in `data`, a table of readouts. Each has a head,
with its place in k-space and the orientation of the patient, and the samples of all coils.
"""

import logging
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from kneeformer.data.formats.base import ORIENTATION_UNKNOWN, FileFault, Image
from kneeformer.data.formats.ismrmrd_grid import image_grid, is_oriented, slices_in_order
from kneeformer.data.formats.ismrmrd_header import (
    Header,
    calibration_mode,
    matrix,
    number,
    parse_header,
    trajectory,
)

# Flags of a readout, numbered from 1 as in the format.
_NO_IMAGING = {
    "noise": 19,
    "navigator": 23,
    "phase correction": 24,
    "navigator feedback": 26,
    "dummy": 27,
    "real-time feedback": 28,
    "surface coil correction": 29,
    "phase stabilisation reference": 30,
    "phase stabilisation": 31,
}
_CALIBRATION, _CALIBRATION_AND_IMAGING, _REVERSED = 20, 21, 22
_OTHER_IMAGES = ("contrast", "phase", "repetition", "set")
_AT_ONCE = 1024  # readouts read together


def read_ismrmrd(group: Any, path: Path) -> Image:
    """The k-space of a group of an opened file; each readout is placed by its encoding steps.

    Readouts that do not measure the image are left out; repeated ones are averaged.

    Raises:
        FileFault: not Cartesian, several images in one file, or a head with impossible values.
    """
    header = parse_header(bytes(np.ravel(group["xml"][()])[0]))
    if (found := trajectory(header)) != "cartesian":
        raise FileFault(f"its trajectory is {found}; only Cartesian k-space is reconstructed")
    heads = group["data"]["head"]
    imaging = _imaging(heads, header, path)
    heads = heads[imaging]
    _require_one_image(heads)
    slices = slices_in_order(heads)
    kspace = _placed(heads, group["data"].fields("data"), imaging, slices, header)
    grid = image_grid(heads, slices, header)
    if is_oriented(heads):
        return Image(kspace, grid)
    logging.getLogger(__name__).warning("%s: its readouts give no patient orientation", path)
    return Image(kspace, grid, ORIENTATION_UNKNOWN)


def _imaging(heads: np.ndarray, header: Header, path: Path) -> np.ndarray:
    """Numbers of the readouts that measured the image, of the first encoding. Raises FileFault: none.

    Embedded calibration lines belong to the image: they lie between its undersampled lines.
    """
    left_out = {kind: _flag(heads, number) for kind, number in _NO_IMAGING.items()}
    if calibration_mode(header) != "embedded":
        left_out["calibration"] = _flag(heads, _CALIBRATION) & ~_flag(heads, _CALIBRATION_AND_IMAGING)
    left_out["a second encoding"] = heads["encoding_space_ref"] != 0
    counts = ", ".join(f"{kind} {there.sum()}" for kind, there in left_out.items() if there.any())
    imaging = np.flatnonzero(~np.any([*left_out.values()], 0))
    if not len(imaging):
        raise FileFault(f"holds no readout of an image ({counts or 'it is empty'}); export the whole scan")
    if counts:
        logging.getLogger(__name__).info("%s: readouts left out: %s", path, counts)
    return imaging


def _flag(heads: np.ndarray, number: int) -> np.ndarray:
    return np.asarray(heads["flags"] >> np.uint64(number - 1) & np.uint64(1), bool)


def _require_one_image(heads: np.ndarray) -> None:
    for name in _OTHER_IMAGES:
        if (count := len(np.unique(heads["idx"][name]))) > 1:
            raise FileFault(f"holds {count} {name}s, each an image of its own; write each into its own file")
    if len(np.unique(heads["active_channels"])) > 1:
        raise FileFault("its readouts are of different numbers of coils; export the scan again")


def _placed(
    heads: np.ndarray, samples: Any, imaging: np.ndarray, slices: np.ndarray, header: Header
) -> np.ndarray:
    """(coils, slices, rows, columns) complex64, or (coils, 1, partitions, rows, columns) of a 3D scan.

    Args:
        samples: those of every readout of the file; `imaging` numbers those of `heads`.
        slices: their numbers, in the order of the array.
    """
    depth, rows, columns = matrix(header, "encodedSpace")
    if depth > 1 and len(slices) > 1:
        raise FileFault(f"holds {len(slices)} slabs of a 3D scan; write each into its own file")
    z = np.argsort(slices)[np.searchsorted(np.sort(slices), heads["idx"]["slice"])]
    partition, column = _steps(heads, header, 2, depth), _steps(heads, header, 1, columns)
    kspace = np.zeros((heads["active_channels"][0], len(slices), depth, rows, columns), np.complex64)
    times = np.zeros(kspace.shape[1:3] + kspace.shape[4:], np.uint16)
    for place, head, stored in zip(
        zip(z, partition, column, strict=True), heads, _each(samples, imaging), strict=True
    ):
        first, line = _line(head, stored, rows)
        kspace[:, place[0], place[1], first : first + line.shape[1], place[2]] += line
        times[place] += 1
    if times.max() > 1:
        kspace /= np.maximum(times, 1)[:, :, None].astype(np.float32)
    return kspace if depth > 1 else kspace[:, :, 0]


def _steps(heads: np.ndarray, header: Header, axis: int, size: int) -> np.ndarray:
    """Place of each readout on an axis of `size`: the header says which step is the zero frequency."""
    name = f"kspace_encoding_step_{axis}"
    centre = int(number(header, f"encodingLimits/{name}/center", int, size // 2))
    steps = heads["idx"][f"kspace_encode_step_{axis}"].astype(int) + size // 2 - centre
    if steps.min() < 0 or steps.max() >= size:
        raise FileFault(
            f"its readouts have encoding steps {axis} that lie outside the {size} of its header around step "
            f"{centre}; correct the header or export it again"
        )
    return np.asarray(steps)


def _each(samples: Any, imaging: np.ndarray) -> Iterator[np.ndarray]:
    """The samples of some readouts, read in order, a part at a time."""
    for first in range(0, len(samples), _AT_ONCE):
        wanted = imaging[(imaging >= first) & (imaging < first + _AT_ONCE)] - first
        if len(wanted):
            yield from samples[first : first + _AT_ONCE][wanted]


def _line(head: np.void, stored: np.ndarray, rows: int) -> tuple[int, np.ndarray]:
    """A readout as (coils, n) complex samples and the row of the first. Raises FileFault: it does not fit.

    The first and last samples that its head discards are cut off, then a reversed line is flipped. One
    that fills the matrix begins at row 0, a shorter one has its centre in the middle.
    """
    count, before, after = (int(head[name]) for name in ("number_of_samples", "discard_pre", "discard_post"))
    line = stored.view(np.complex64).reshape(int(head["active_channels"]), count)[:, before : count - after]
    if int(head["flags"]) >> (_REVERSED - 1) & 1:
        line = line[:, ::-1]
    first = 0 if line.shape[1] == rows else rows // 2 - (int(head["center_sample"]) - before)
    if not 0 <= first <= first + line.shape[1] <= rows or not line.shape[1]:
        raise FileFault(
            f"a readout of {line.shape[1]} samples around sample {head['center_sample']} does not fit into "
            f"the {rows} of its header; correct the header or export it again"
        )
    return first, line
