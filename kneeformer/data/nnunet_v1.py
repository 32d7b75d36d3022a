"""dataset.json as nnU-Net v1 and the Medical Segmentation Decathlon write it."""

import json
from pathlib import Path
from typing import Any

from kneeformer.data.image_folder import first_ending


def refusal(content: Any, folder: Path) -> str | None:
    """Return the lines to write instead, ready to paste, where a dataset.json is of nnU-Net v1; else None.

    The older form has names by number ({"0": "background"}) where v2 has numbers by name, `modality` for
    `channel_names`, and no `file_ending`.

    Args:
        content: of dataset.json.
        folder: of the dataset; its images' names give the ending.
    """
    if not isinstance(content, dict):
        return None
    newer: dict[str, Any] = {}
    modality = content.get("modality")
    if (
        "channel_names" not in content
        and isinstance(modality, dict)
        and all(map(_is_name, modality.values()))
    ):
        newer["channel_names"] = modality
    if (labels := _numbers_by_name(content.get("labels"))) is not None:
        newer["labels"] = labels
    if not newer:
        return None
    if "file_ending" not in content:
        newer["file_ending"] = first_ending(folder / "imagesTr")
    lines = ",\n".join(f"  {json.dumps(k)}: {json.dumps(v, ensure_ascii=False)}" for k, v in newer.items())
    return f"of nnU-Net v1; write these lines, as nnU-Net v2 does, in place of its own:\n{lines}"


def _numbers_by_name(labels: Any) -> dict[str, int] | None:
    """Labels given as names by number, turned into numbers by name; None for any others."""
    if not isinstance(labels, dict) or not labels:
        return None
    if not all(_is_number(k) and _is_name(v) for k, v in labels.items()):
        return None
    named = {"background" if int(number) == 0 else name: int(number) for number, name in labels.items()}
    return named if len(named) == len(labels) else None  # else two numbers have one name


def _is_name(value: Any) -> bool:
    return isinstance(value, str) and not _is_number(value) and 0 < len(value) < 100


def _is_number(text: str) -> bool:
    return text.isascii() and text.isdigit()
