"""Inputs and outputs of tasks: a scan, its prediction, and the prepared cases of a training."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from kneeformer.geometry.grid import Grid
from kneeformer.geometry.mesh import Mesh
from kneeformer.sides import Side, Whose


@dataclass(frozen=True)
class Scan:
    """Image, mask and side of a case on its native grid.

    Attributes:
        image: (channels, z, y, x) on the native grid; or complex k-space of an image on that grid, with axes
            as in `data.images.Image`.
        mask: (z, y, x) on the same grid: bone to keep, region to complete; None without one.
        side: of the body, if known from the name or dataset.json.
        bone_found_by: name of the configuration that found the bone to keep; None if it was marked.
        doubts: warnings about the bone that was found.
        other_side: scan of the same person's other side, with a label map of the dataset as its mask.
        facts: about earlier processing, for CASE.json.
        fully_sampled: (1, y, x) magnitudes of the middle slice from all samples, if k-space was undersampled
            here.
    """

    image: np.ndarray
    grid: Grid
    mask: np.ndarray | None = None
    side: Side | None = None
    bone_found_by: str | None = None
    doubts: tuple[str, ...] = ()
    other_side: "Scan | None" = None
    facts: Mapping[str, Any] = field(default_factory=dict)
    fully_sampled: np.ndarray | None = None


@dataclass(frozen=True)
class Outputs:
    """Prediction of a case.

    Attributes:
        volumes: on the native grid, by suffix of the file name: "" is the main one (CASE.nrrd), "_ct" is
            CASE_ct.nrrd; an array of four axes becomes CASE_name.npz.
        surfaces: in patient coordinates, by suffix: "" is CASE.stl.
        transforms: (4, 4), of points in patient coordinates (LPS, mm), by suffix: "" is CASE.tfm.
        facts: for CASE.json.
        warnings: doubts about the outputs, for the user.
        shown: further volumes (z, y, x) on the native grid, or middle slices (1, y, x), only for the picture.
        description: one line for the headers of the volumes.
        complex_image: (z, y, x) complex reconstruction, written on request.
    """

    volumes: dict[str, np.ndarray]
    surfaces: Mapping[str, Mesh] = field(default_factory=dict)
    transforms: Mapping[str, np.ndarray] = field(default_factory=dict)
    facts: dict[str, Any] = field(default_factory=dict)
    warnings: tuple[str, ...] = ()
    shown: dict[str, np.ndarray] = field(default_factory=dict)
    description: str = ""
    complex_image: np.ndarray | None = None


@dataclass(frozen=True)
class StoredCases:
    """Prepared cases, each as folder / name.

    Attributes:
        unlabelled: images used without labels, even if labels are stored.
        whose: person and side of each case, by its name.
    """

    cases: list[Path]
    unlabelled: list[Path] = field(default_factory=list)
    whose: Mapping[str, Whose] = field(default_factory=dict)
