"""Names of segments in an NRRD header, as 3D Slicer writes them, compared with those of the dataset.

Slicer renumbers the segments when it saves a file: if one is missing in a case, the next one gets its number.
Only the names tell.
"""

import re
from pathlib import Path

from kneeformer.data.segmentation_file import read_segments
from kneeformer.labels import COMPLETE, KEEP, LabelScheme

MASK = LabelScheme.from_json({"background": 0, "keep": KEEP, "complete": COMPLETE})


def segments(path: Path) -> dict[str, int]:
    """Name and label value of each segment that the header of a file names, in its order."""
    return {segment.name: segment.value for segment in read_segments(path)}


def segment_problems(path: Path, scheme: LabelScheme, whose: str = "dataset.json") -> list[str]:
    """A line if a segment has the name of a structure but another value; ignores capitals and separators.

    Args:
        whose: owner of the scheme, for the message.
    """
    named, known = segments(path), _values_by_name(scheme)
    if all(value in known.get(plain_name(name), (value,)) for name, value in named.items()):
        return []
    declared = ", ".join(f"{n} = {' '.join(map(str, v))}" for n, v in _labels(scheme))
    return [
        f"{path}: its header names the segments {_listed(named)}, but {whose} has {declared}; give the "
        f"file these values, or its segments the right names"
    ]


def segment_warnings(path: Path, scheme: LabelScheme) -> list[str]:
    """A line if segments have names that are not in dataset.json."""
    known = _values_by_name(scheme)
    strange = {name: value for name, value in segments(path).items() if plain_name(name) not in known}
    if not strange:
        return []
    return [f"{path}: its header names {_listed(strange)}, names that dataset.json does not have"]


def _labels(scheme: LabelScheme) -> list[tuple[str, tuple[int, ...]]]:
    ignored = [] if scheme.ignore is None else [("ignore", (scheme.ignore,))]
    return [*zip(scheme.names, scheme.values, strict=True), *ignored]


def _values_by_name(scheme: LabelScheme) -> dict[str, tuple[int, ...]]:
    found: dict[str, tuple[int, ...]] = {"background": (0,)}
    for name, values in _labels(scheme):
        found[plain_name(name)] = (*found.get(plain_name(name), ()), *values)
    return found


def plain_name(name: str) -> str:
    """A name without capitals and separators."""
    return re.sub(r"[\W_]+", " ", name).strip().casefold()


def _listed(named: dict[str, int]) -> str:
    return ", ".join(f"{name} = {value}" for name, value in named.items())
