"""Plans of bones on which a bone takes less than a second."""

import math
from pathlib import Path

from kneeformer.data.files import read_json, write_json


def coarsen(plan: Path, spacing_mm: float) -> None:
    """Edit a plan, as people may, to a coarser grid of the same extent."""
    content = read_json(plan)
    for configuration in content["configurations"].values():
        if "grid" in (grid := configuration.get("preprocessing", {})):
            size = [n * mm for n, mm in zip(grid["grid"], grid["spacing"], strict=True)]
            grid["grid"] = [8 * math.ceil(mm / spacing_mm / 8) for mm in size]
            grid["spacing"] = [spacing_mm] * 3
        elif grid:
            grid["spacing"] = [spacing_mm] * 3
            configuration["training"]["crop"] = [24, 24, 24]
    write_json(plan, content)
