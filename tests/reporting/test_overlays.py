"""Overlays: contours lie where the structures are, in mm; letters and bars fit; odd cases are drawn too."""

from pathlib import Path

import numpy as np
import pytest
from matplotlib.image import imread

from kneeformer.data.images import Image
from kneeformer.geometry.grid import Grid
from kneeformer.labels import LabelScheme
from kneeformer.reporting.overlays import draw_overlay, structure_colours
from kneeformer.reporting.sheet import Sheet, outline, show_plane, size_mm
from kneeformer.reporting.views import View

SCHEME = LabelScheme.from_json({"background": 0, "femur": 1, "tibia": 2, "femoral_cartilage": 3})
GRID = Grid.along_patient((8, 40, 30), (4.0, 1.0, 1.5), "RIP")  # sagittal slices


def drawn(labels: np.ndarray, folder: Path, **more: object) -> np.ndarray:
    """The pixels of an overlay on a black scan, (rows, columns, 3) from 0 to 1."""
    scan = Image(np.zeros(labels.shape, np.float32), GRID)
    draw_overlay(scan, labels, SCHEME, folder / "case.png", **more)  # type: ignore[arg-type]
    return imread(folder / "case.png")[..., :3]


def test_panels_are_to_one_scale_and_thick_slices_are_not_squeezed() -> None:
    views = View.all_of(GRID)
    sizes = [size_mm(view, view.slices(np.zeros(GRID.shape))[0]) for view in views]
    assert sizes == [(40, 45), (40, 32), (45, 32)]  # height and width in mm
    sheet = Sheet("case", [sizes])
    inches = [axes.get_position().size * sheet.figure.get_size_inches() for axes in sheet.axes[0]]
    assert np.ptp(np.array(inches)[:, ::-1] / sizes) < 1e-9


def test_a_contour_runs_between_the_voxels_inside_and_outside() -> None:
    (view, _, _), mask = View.all_of(GRID), np.zeros((40, 30), bool)
    mask[10:20, 6:16] = True
    sheet = Sheet("case", [[(40, 45)]])
    (axes,) = sheet.axes[0]
    show_plane(axes, view, np.zeros((40, 30)), (0, 1))
    outline(axes, view, mask, "red")
    (contour,) = axes.collections
    corners = np.concatenate([path.vertices for path in contour.get_paths()])
    assert corners.min(0) == pytest.approx([9, 10]) and corners.max(0) == pytest.approx([24, 20])  # mm
    texts = {text.get_text() for text in axes.texts}
    assert {"sagittal", "S", "I", "A", "P", "10 mm"} <= texts
    bar = next(line for line in axes.lines)
    assert np.ptp(bar.get_xdata()) == 10  # mm, as the axes are


def test_colours_differ_and_stay_those_of_slicer_where_they_can() -> None:
    colours = structure_colours(SCHEME)
    assert len(set(colours.values())) == 3
    assert colours["femur"] == pytest.approx((0.945, 0.839, 0.569))
    assert colours["femoral_cartilage"] == pytest.approx((0.435, 0.722, 0.824))


def test_structures_have_their_colours_and_the_reference_is_dotted(tmp_path: Path) -> None:
    labels = np.zeros(GRID.shape, np.uint8)
    labels[2:6, 5:25, 5:20] = 2
    plain, with_reference = drawn(labels, tmp_path), drawn(labels, tmp_path, reference=np.roll(labels, 5, 1))
    tibia = np.abs(plain - structure_colours(SCHEME)["tibia"]).max(-1) < 0.02
    assert tibia.sum() > 500
    white = [int((pixels[50:400] > 0.93).all(-1).sum()) for pixels in (plain, with_reference)]
    assert white[1] > white[0] + 200


def test_a_warning_makes_the_sheet_taller_and_amber(tmp_path: Path) -> None:
    labels = np.ones(GRID.shape, np.uint8)
    silent, warned = drawn(labels, tmp_path), drawn(labels, tmp_path, warnings=["<b>$x$ is wrong", "y"])
    assert len(warned) == len(silent) + 48  # two lines of 0.24 inches at 100 dots
    assert (np.abs(warned - (1.0, 0.70, 0.28)).max(-1) < 0.05).any()


@pytest.mark.parametrize("surfaces", [False, True])
def test_empty_and_full_label_maps_are_drawn(surfaces: bool, tmp_path: Path) -> None:
    for value in (0, 1):
        assert drawn(np.full(GRID.shape, value, np.uint8), tmp_path, surfaces=surfaces).ndim == 3
