"""The record of what made the predictions of a folder, by which outdated ones are recognised."""

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from kneeformer.data.files import read_json, write_json
from kneeformer.errors import KneeformerError

PREDICTED_BY = "predicted_by.json"


def predicted_since(folder: Path, made_by: Mapping[str, Any]) -> float | None:
    """Time at which this model began to predict into a folder; infinite if the record names another.

    None if the record is missing or damaged.

    Args:
        made_by: model, weights and settings, as in `Predictor.identity`.
    """
    file = folder / PREDICTED_BY
    try:
        return file.stat().st_mtime if read_json(file) == made_by else math.inf
    except KneeformerError:
        return None


def record(folder: Path, made_by: Mapping[str, Any]) -> bool:
    """Record what predicts into a folder from now on; an equal record keeps its time.

    Returns:
        True if the former record names another model or other settings.
    """
    before = predicted_since(folder, made_by)
    if before in (None, math.inf):
        write_json(folder / PREDICTED_BY, made_by)
    return before == math.inf
