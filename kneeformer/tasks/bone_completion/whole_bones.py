"""Scores of priors on whole bones, laid out as the tibia paper's first table.

Figures are of the raw answer over all of the grid on which bones are stored, nothing pasted back: once with
nothing hidden, and once with a fifth of the bone. They tell of registration and prior together. Of a whole
volume most is air, and they flatter: the table of hidden regions (`completion_comparison`) leads.
"""

import math
from collections.abc import Mapping, Sequence

import numpy as np

from kneeformer.geometry.aliases import Spacing
from kneeformer.geometry.grid import Grid
from kneeformer.geometry.mesh import surface_of
from kneeformer.metrics.completion_comparison import Row, means, scaled_text
from kneeformer.metrics.mesh_distance import rmsd
from kneeformer.metrics.scores import Metrics
from kneeformer.metrics.shape_completion import WINDOWS, intensity_metrics
from kneeformer.metrics.summary import CaseScores
from kneeformer.metrics.surface_distance import diagonal_mm

MASKINGS = ("unmasked", "masked")

_COLUMNS = (
    *((f"D-SSIM{w} x 100", f"D-SSIM{w}", 3, 100) for w in WINDOWS),
    ("PSNR dB", "PSNR", 1, 1),
    ("RMSE x 100", "RMSE", 2, 100),
    ("RMSD mm", "RMSD_mm", 2, 1),
)


def score_whole_bone(bone: np.ndarray, found: np.ndarray, spacing_mm: Spacing) -> Metrics:
    """D-SSIM, SSIM11, PSNR and RMSE as `completion` has them; RMSD_mm between the zero levels of distance.

    Args:
        bone, found: (2, z, y, x): CT in [0, 1] and signed distance in mm.

    Returns:
        RMSD_mm is the diagonal of the grid where nothing is found.
    """
    z, y, x = bone.shape[1:]
    geometry, everywhere = Grid((z, y, x), spacing_mm), np.ones((z, y, x), bool)
    scores = intensity_metrics(bone[0], found[0], {"": everywhere})[""]
    if not (found[1] < 0).any():
        return scores | {"RMSD_mm": diagonal_mm(geometry.shape, geometry.spacing)}
    there, here = (surface_of(-volume[1], 0.0, geometry) for volume in (bone, found))
    return scores | {"RMSD_mm": rmsd(there, here)}


def whole_bone_rows(scores: Mapping[str, Sequence[CaseScores]]) -> list[Row]:
    """Means over patients of every configuration's metrics, of both questions."""
    return [row for name, cases in scores.items() for row in means(name, cases, MASKINGS)]


def whole_bone_table(rows: Sequence[Row], registrations: Mapping[str, str]) -> str:
    """The table as people read it: a block a registration, in the order in which they come.

    Args:
        registrations: configuration -> the registration that it comes after.
    """
    found = {(row.configuration, row.part, row.metric): row for row in rows}
    names = list(dict.fromkeys(row.configuration for row in rows))
    blocks = list(dict.fromkeys(registrations[name] for name in names))
    lines = []
    for question in MASKINGS:
        hidden = "nothing hidden" if question == "unmasked" else "a fifth hidden"
        titles = ["registration", f"model, {hidden}", *(title for title, *_ in _COLUMNS)]
        lines += ["", f"| {' | '.join(titles)} |", "|---" * len(titles) + "|"]
        for name in sorted(names, key=lambda n: blocks.index(registrations[n])):
            cells = [
                scaled_text(found[name, question, metric].interval, digits, factor)
                for _, metric, digits, factor in _COLUMNS
            ]
            lines.append(f"| {registrations[name]} | {name} | {' | '.join(cells)} |")
    most = max((row.patients for row in rows if not math.isnan(row.interval[0])), default=0)
    return "\n".join([*lines, "", f"Whole volumes, raw; means over {most} patients with 95 % intervals.", ""])
