"""Volumes in a folder of 3D Slicer, paired with their segmentations by name."""

import re
from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from kneeformer.data.image_folder import composed, has_unusable_name, printable
from kneeformer.data.images import FILE_ENDINGS, file_ending
from kneeformer.data.segmentation_file import read_segments
from kneeformer.workflows.import_cases import ImportedCase

_WORDS = r"(?:[\s._-]*(?:segmentation|segments?|seg|labels?(?:map)?)(?:[\s._-]*\d+)?)+"

_UNNAMED = "named as the label map of a volume here, and names no segments; save it as VOLUME.seg.nrrd"
_UNUSABLE = "its name holds control characters or is not UTF-8; rename it"


@dataclass(frozen=True)
class SlicerFolder:
    """Cases of a folder, and files that belong to none.

    Attributes:
        ignored: one line per ignored file.
    """

    cases: list[ImportedCase]
    ignored: list[str]


def slicer_folder(folder: Path) -> SlicerFolder:
    """Pair the volumes and segmentations of a folder and its subfolders.

    A segmentation is an NRRD file whose header names segments. It belongs to the volume of its folder with
    the same name, apart from words such as "segmentation", or to the only volume there. A volume without one
    is a case without labels. Hidden files and folders are ignored.
    """
    cases, ignored = [], []
    for place in (folder, *sorted(p for p in folder.rglob("*") if p.is_dir() and not _is_hidden(p, folder))):
        files = sorted(p for p in place.iterdir() if p.is_file() and not p.name.startswith("."))
        files = [path for path in files if path.name.lower().endswith(FILE_ENDINGS)]
        ignored += [f"{printable(p)}: {_UNUSABLE}" for p in files if has_unusable_name(Path(p.name))]
        files = [path for path in files if not has_unusable_name(Path(path.name))]
        segmentations = [path for path in files if read_segments(path)]
        volumes = [path for path in files if path not in segmentations]
        unnamed = {path for path in volumes if _is_label_map(path, volumes)}
        ignored += [f"{path}: {_UNNAMED}" for path in volumes if path in unnamed]
        volumes = [path for path in volumes if path not in unnamed]
        pairs, left = _paired(volumes, segmentations)
        ignored += left
        alone = len(volumes) == 1 and place != folder
        cases += [
            ImportedCase(composed(place.name) if alone else _stem(volume), (volume,), pairs.get(volume))
            for volume in volumes
        ]
    return SlicerFolder(_of_different_names(cases, ignored), ignored)


def _is_hidden(path: Path, within: Path) -> bool:
    return any(part.startswith(".") for part in path.relative_to(within).parts)


def _is_label_map(path: Path, volumes: list[Path]) -> bool:
    """True for scan-label.nrrd beside scan.nrrd, by their names."""
    return any(_plain(path) == _bare(other) != _bare(path) for other in volumes)


def _paired(volumes: list[Path], segmentations: list[Path]) -> tuple[dict[Path, Path], list[str]]:
    """The segmentation of each volume, and a line for each segmentation without a volume."""
    by_name = defaultdict(list)
    for volume in volumes:
        by_name[_plain(volume)].append(volume)
    pairs, left = dict[Path, Path](), []
    for file in segmentations:
        candidates = by_name[_plain(file)] or (volumes if len(volumes) == 1 else [])
        if len(candidates) != 1:
            left.append(f"{file}: no one volume has its name; call it VOLUME.seg.nrrd, after its volume")
        elif candidates[0] in pairs:
            taken = pairs[candidates[0]].name
            left.append(f"{file}: {candidates[0].name} has the segmentation {taken} already; keep one")
        else:
            pairs[candidates[0]] = file
    return pairs, left


def _of_different_names(cases: Iterable[ImportedCase], ignored: list[str]) -> list[ImportedCase]:
    kept: dict[str, ImportedCase] = {}
    for case in sorted(cases, key=lambda c: c.name):
        if (other := kept.get(case.name.casefold())) is not None:
            volume, first = case.volumes[0], other.volumes[0]
            ignored.append(f"{volume}: {first} is a case {other.name} as well; rename one")
        else:
            kept[case.name.casefold()] = case
    return list(kept.values())


def _stem(path: Path) -> str:
    return composed(path.name[: -len(file_ending(path))]).removesuffix("_0000")


def _plain(path: Path) -> str:
    """The name without words for segmentations, capitals and separators at its ends."""
    return re.sub(rf"{_WORDS}$|^(?:segmentation|seg)[\s._-]+", "", _bare(path)).strip(" ._-")


def _bare(path: Path) -> str:
    return _stem(path).casefold().strip(" ._-")
