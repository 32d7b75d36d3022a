"""The record of what made the predictions of a folder: by it, those of another model are not kept."""

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from kneeformer.data.files import read_json, write_json
from kneeformer.errors import KneeformerError

PREDICTED_BY = "predicted_by.json"


def predicted_since(folder: Path, made_by: Mapping[str, Any]) -> float | None:
    """The time since which a folder is predicted so; infinite where its record says otherwise.

    None where nothing tells: the record is missing or damaged.

    Args:
        made_by: model, weights and settings, as `Predictor.identity` has them.
    """
    file = folder / PREDICTED_BY
    try:
        return file.stat().st_mtime if read_json(file) == made_by else math.inf
    except KneeformerError:
        return None


def record(folder: Path, made_by: Mapping[str, Any]) -> None:
    """Write down what makes the predictions of a folder from now on; a record of the same stays as it is."""
    if predicted_since(folder, made_by) in (None, math.inf):
        write_json(folder / PREDICTED_BY, made_by)
