"""Pictures a person looks at: slices of an image with reference and prediction drawn over it."""

from pathlib import Path

import numpy as np

from kneeformer.data.files import written_whole
from kneeformer.data.images import Image, read_image
from kneeformer.geometry.aliases import Spacing
from kneeformer.labels import LabelScheme


def draw_segmentation(
    image: Path, reference: Path, prediction: Path, scheme: LabelScheme, picture: Path
) -> None:
    """A PNG of three slices, rows image | reference | prediction, at the slices that hold most structure.

    Slices are cut along the array's axis with the largest spacing, so thick slices are seen as acquired.
    """
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot as plt
    from matplotlib.colors import ListedColormap
    from matplotlib.patches import Patch

    scan, truth, found = (read_image(p) for p in (image, reference, prediction))
    axis = int(np.argmax(scan.grid.spacing))
    (voxels, aspect), (labels, _), (predicted, _) = (upright(i, axis) for i in (scan, truth, found))
    slices = _fullest_slices(labels)
    colours = ListedColormap([plt.get_cmap("tab10")(i % 10) for i in range(len(scheme.names))])
    figure, grid = plt.subplots(
        len(slices), 3, figsize=(9, 3.1 * len(slices)), layout="constrained", squeeze=False
    )
    low, high = np.percentile(voxels, (0.5, 99.5))
    for row, index in zip(grid, slices, strict=True):
        for panel, overlay in zip(row, (None, labels, predicted), strict=True):
            panel.imshow(voxels[index], cmap="gray", vmin=low, vmax=high, aspect=aspect)
            if overlay is not None:
                order = _order(overlay[index], scheme)
                panel.imshow(
                    order,
                    cmap=colours,
                    vmin=0.5,
                    vmax=len(scheme.names) + 0.5,
                    alpha=0.55,
                    aspect=aspect,
                    interpolation="nearest",
                )
            panel.set_axis_off()
    for panel, title in zip(grid[0], ("image", "reference", "prediction"), strict=True):
        panel.set_title(title)
    handles = [Patch(color=colours(i), label=n.replace("_", " ")) for i, n in enumerate(scheme.names)]
    figure.legend(handles=handles, loc="outside lower center", ncols=3, fontsize=8, frameon=False)
    with written_whole(picture) as beside:
        figure.savefig(beside, dpi=110)
    plt.close(figure)


def draw_masked_prediction(panels: list[np.ndarray], spacing_mm: Spacing, picture: Path) -> None:
    """A PNG of three slices, columns original | masked | predicted, across the coarsest axis.

    Args:
        panels: original, masked (NaN where hidden) and predicted, each (z, y, x).
    """
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot as plt

    axis = int(np.argmax(spacing_mm))
    height, width = (mm for a, mm in enumerate(spacing_mm) if a != axis)
    volumes = [np.moveaxis(panel, axis, 0) for panel in panels]
    slices = [round(share * (len(volumes[0]) - 1)) for share in (0.25, 0.5, 0.75)]
    low, high = np.percentile(panels[0], (0.5, 99.5))
    grey = plt.get_cmap("gray").with_extremes(bad="#24476b")
    figure, grid = plt.subplots(
        3, 3, figsize=(9, 9 * volumes[0].shape[1] * height / (volumes[0].shape[2] * width))
    )
    figure.set_layout_engine("constrained")
    for row, index in zip(grid, slices, strict=True):
        for place, volume in zip(row, volumes, strict=True):
            place.imshow(volume[index], cmap=grey, vmin=low, vmax=high, aspect=height / width)
            place.set_axis_off()
    for place, title in zip(grid[0], ("original", "masked", "predicted"), strict=True):
        place.set_title(title)
    with written_whole(picture) as beside:
        figure.savefig(beside, dpi=100)
    plt.close(figure)


def _order(labels: np.ndarray, scheme: LabelScheme) -> np.ma.MaskedArray:
    """Number of the structure at each pixel, from 1, masked where there is none."""
    order = np.zeros(labels.shape)
    for number, value in enumerate(scheme.painted, 1):
        order[labels == value] = number
    return np.ma.masked_equal(order, 0)


def _fullest_slices(labels: np.ndarray, count: int = 3) -> list[int]:
    """Slices spread over the middle of what is labelled."""
    held = np.flatnonzero((labels > 0).any((1, 2)))
    if not len(held):
        return [len(labels) // 2]
    return sorted({int(held[round(q * (len(held) - 1))]) for q in np.linspace(0.25, 0.75, count)})


def upright(image: Image, axis: int) -> tuple[np.ndarray, float]:
    """Slices along an axis, (n, rows, columns), in radiological orientation, and the aspect of a pixel.

    Rows run down to the feet, or to the back in an axial slice; columns to the patient's left, or to the
    back in a sagittal one.
    """
    slices = np.moveaxis(image.array, axis, 0)
    rows, columns = (a for a in range(3) if a != axis)
    cosines = image.grid.cosines
    down, right = cosines[:, 2 - rows], cosines[:, 2 - columns]  # patient directions (x, y, z) of the axes
    height, width = image.grid.spacing[rows], image.grid.spacing[columns]
    if np.argmax(np.abs(down)) < np.argmax(np.abs(right)):
        slices, down, right, height, width = slices.swapaxes(1, 2), right, down, width, height
    wanted = np.array([1, 1, -1])  # towards left, back, feet
    for direction, place in ((down, 1), (right, 2)):
        main = int(np.argmax(np.abs(direction)))
        if direction[main] * wanted[main] < 0:
            slices = np.flip(slices, place)
    return slices, height / width
