"""CPU time of one augmented crop, ours and batchgenerators': each change alone, and as a plan mixes them.

python tests/benchmarks/augmentation_backends.py [--rounds 20]

Times are those of the process on one thread, so that other work on the machine disturbs little. The backends
take turns, the same seeds for both, and the median over rounds is printed.
"""

import argparse
import time
from collections.abc import Callable
from functools import partial
from statistics import median

import numpy as np
import torch

from kneeformer.config import AugmentationSettings
from kneeformer.geometry.aliases import Size, Spacing
from kneeformer.transforms import by_batchgenerators, intensity, spatial
from kneeformer.transforms.augmentation import Augmentation

CROPS: dict[str, tuple[Size, Spacing, int | None]] = {
    "knee 24 x 160 x 160": ((24, 160, 160), (3.1, 0.44, 0.44), 0),
    "hippocampus 40 x 56 x 40": ((40, 56, 40), (1.0, 1.0, 1.0), None),
}
WHOLE = "a crop as planned"
Piece = Callable[[np.random.Generator], object]


def pieces(crop: Size, spacing: Spacing, thick_axis: int | None, backend: str) -> dict[str, Piece]:
    """What is timed, by name; each draws from the generator that it is handed."""
    module, warp = (
        (intensity, spatial.warp)
        if backend == "kneeformer"
        else (by_batchgenerators, by_batchgenerators.warp)
    )
    rng = np.random.default_rng(0)
    turns = AugmentationSettings(
        affine_probability=1,
        rotation_degrees=(15, 0, 0) if thick_axis == 0 else (15, 15, 15),
        scale=(0.85, 1.18),
    )
    matrix = spatial.draw_affine(rng, turns, spacing)
    assert matrix is not None
    region = rng.standard_normal((1, *spatial.region_needed(matrix, crop))).astype(np.float32)
    labels = (region > 1).astype(np.int16)
    image = rng.standard_normal((1, *crop)).astype(np.float32)
    timed: dict[str, Piece] = {
        "warp of the image": lambda _: warp(region, matrix, crop, "image", 0),
        "warp of the labels": lambda _: warp(labels, matrix, crop, "label", -1),
    }
    for name, change in module.changes(thick_axis).items():
        timed[name] = partial(change, image)
    plan = turns.model_copy(
        update={"backend": backend, "affine_probability": 0.3, "mirror_axes": ("RL", "AP")}
    )
    volume = rng.standard_normal((1, *(2 * n for n in crop))).astype(np.float32)
    whole = partial(whole_crop, volume, (volume > 1).astype(np.int16), crop)
    return timed | {WHOLE: partial(whole, Augmentation(plan, spacing, thick_axis))}


def whole_crop(
    volume: np.ndarray,
    labels: np.ndarray,
    crop: Size,
    augmentation: Augmentation,
    rng: np.random.Generator,
) -> object:
    """Draw, warp, mirror and change a crop, by the chances that plans have."""
    draw = augmentation.draw(rng, crop, "SPL")
    z, y, x = draw.region
    return augmentation.apply(draw, volume[:, :z, :y, :x], labels[:, :z, :y, :x], rng)


def cpu_ms(piece: Piece, seed: int) -> float:
    start = time.process_time()
    piece(np.random.default_rng(seed))
    return 1000 * (time.process_time() - start)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=20)
    rounds = parser.parse_args().rounds
    torch.set_num_threads(1)
    for title, (crop, spacing, thick_axis) in CROPS.items():
        ours = pieces(crop, spacing, thick_axis, "kneeformer")
        theirs = pieces(crop, spacing, thick_axis, "batchgenerators")
        print(f"{title}: CPU ms a crop, ours / batchgenerators / ratio")
        for name in ours:
            # chance decides what a whole crop costs, so there the mean of many counts
            count, middle = (20 * rounds, np.mean) if name == WHOLE else (rounds, median)
            times = [(cpu_ms(ours[name], s), cpu_ms(theirs[name], s)) for s in range(count)]
            a, b = (float(middle([t[k] for t in times])) for k in range(2))
            print(f"  {name:20} {a:8.2f} {b:8.2f} {b / a:8.2f}")


if __name__ == "__main__":
    main()
