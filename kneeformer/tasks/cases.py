"""Cases as tasks meet them: a scan, what is predicted of it, and the prepared cases of a training."""

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
        image: (channels, z, y, x) on the native grid; or complex k-space of the image on that grid, with
            axes as `data.images.Image` has them.
        mask: (z, y, x) on the same grid: bone to keep, region to complete; None without one.
        side: of the body, if known from its name or dataset.json.
        bone_found_by: the configuration that found the mask's bone to keep, where none was marked.
        other_side: of the same person, where it is needed; its mask is a label map of the dataset.
        facts: what was done to it before, for CASE.json.
        fully_sampled: (1, y, x) magnitudes of the middle slice of all samples of k-space, where it was
            undersampled here.
    """

    image: np.ndarray
    grid: Grid
    mask: np.ndarray | None = None
    side: Side | None = None
    bone_found_by: str | None = None
    other_side: "Scan | None" = None
    facts: Mapping[str, Any] = field(default_factory=dict)
    fully_sampled: np.ndarray | None = None


@dataclass(frozen=True)
class Outputs:
    """Prediction of a case.

    Attributes:
        volumes: on the native grid, by what is added to the case's file name: "" is the main one
            (CASE.nrrd), "_ct" is CASE_ct.nrrd; an array of four axes becomes CASE_name.npz.
        surfaces: in patient coordinates, by what is added to the case's file name: "" is CASE.stl.
        transforms: 4 x 4, of points in patient coordinates (LPS, mm): "" is CASE.tfm.
        facts: for CASE.json.
        warnings: doubts about the outputs, for the user.
        shown: further volumes (z, y, x) on the native grid, or their middle slices (1, y, x), for the picture
            alone.
        description: one line, for the headers of the volumes.
        complex_image: (z, y, x), of a reconstruction; written on request.
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
        unlabelled: images that are used without labels beside them, even where labels are stored.
        whose: person and side of each case, by its name.
    """

    cases: list[Path]
    unlabelled: list[Path] = field(default_factory=list)
    whose: Mapping[str, Whose] = field(default_factory=dict)
