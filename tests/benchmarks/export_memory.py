"""Peak memory of bringing 10 classes back to a 512 x 512 x 400 CT from a grid of twice its spacing.

python tests/benchmarks/export_memory.py

The logits (11, 200, 256, 256) are random. The peak is the whole process's, torch and logits included.
"""

import resource
import sys
import time

import torch

from kneeformer.engine.native import to_label_map
from kneeformer.labels import LabelScheme

CLASSES, GRID, NATIVE = 10, (200, 256, 256), (400, 512, 512)


def main() -> None:
    scheme = LabelScheme.from_json({"background": 0, **{f"structure_{i}": i for i in range(1, CLASSES + 1)}})
    logits = torch.randn(CLASSES + 1, *GRID)
    started = time.perf_counter()
    labels = to_label_map(logits, NATIVE, scheme)
    seconds = time.perf_counter() - started
    unit = 2**30 if sys.platform == "darwin" else 2**20
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / unit
    print(f"{labels.shape} {labels.dtype}: {seconds:.1f} s, peak of the process {peak:.2f} GiB")


if __name__ == "__main__":
    main()
