"""Image files of a folder by their names alone: those used, and those ignored with the reason."""

import re
import unicodedata
from collections import defaultdict
from dataclasses import dataclass
from pathlib import Path

from kneeformer.data.images import FILE_ENDINGS, KSPACE_ENDINGS, READABLE_ENDINGS, file_ending

# Of other image files that people have; a .raw, .zraw or .raw.gz belongs to its .mhd or .nhdr.
OTHER_FORMATS = (
    *(".hdr", ".img", ".dcm", ".ima", ".mgz", ".mgh", ".mnc", ".gipl", ".vtk", ".tif", ".tiff", ".npy"),
    *(".nii.bz2", ".nii.xz", ".nii.zip", ".nrrd.gz", ".mha.gz"),
)
_UNFINISHED = (".part", ".partial", ".filepart", ".crdownload")  # of copies and downloads
_AS_KSPACE = '"file_ending": ".h5"'


@dataclass(frozen=True)
class ImageFolder:
    """Contents of a folder of images.

    Attributes:
        files: the image files by their names before the ending, in composed Unicode (NFC), sorted. macOS
            and its archives decompose names; they look the same and differ.
        ignored: of each other image file, why and what to do.
        duplicates: a line for each name that several files have, of which `files` has the first.
    """

    folder: Path
    files: dict[str, Path]
    ignored: dict[Path, str]
    duplicates: dict[str, str]

    def file(self, name: str, ending: str) -> Path:
        """The file of a name; where there is none, the path that it should have."""
        return self.files.get(name, self.folder / f"{name}{ending}")


def image_folder(
    folder: Path, known: tuple[str, ...] = FILE_ENDINGS, holds_scans: bool = False
) -> ImageFolder:
    """List the image files of a folder; of one that does not exist, none.

    The case of an ending does not matter. Hidden files, ._K01.nrrd of macOS too, folders, and files that are
    no images disturb nobody, but for folders called as images are, and copies that are not finished.

    Args:
        known: endings of files that are taken.
        holds_scans: segmentations of 3D Slicer, and k-space that is not taken, are ignored with a reason.
    """
    found: dict[str, list[Path]] = defaultdict(list)
    ignored = {}
    for path in sorted(folder.iterdir()) if folder.is_dir() else ():
        called_image = path.name.lower().endswith(known)
        if path.name.startswith(".") or (path.is_dir() and not called_image):
            continue
        reason = _reason(path, known) or (_no_scan(path, known) if holds_scans else None)
        if reason is not None:
            ignored[path] = reason
        elif called_image:
            found[composed(path.name[: -len(file_ending(path))])].append(path)
    duplicates = {
        name: f"{folder}: {' and '.join(p.name for p in paths)} are two files of one name, {name}; move one "
        "elsewhere"
        for name, paths in found.items()
        if len(paths) > 1
    }
    return ImageFolder(folder, {name: found[name][0] for name in sorted(found)}, ignored, duplicates)


def first_ending(folder: Path) -> str:
    """The ending of the first k-space or else image of a folder; .nii.gz, as nnU-Net has it, without any."""
    names = sorted(p.name.lower() for p in folder.iterdir()) if folder.is_dir() else []
    seen = [e for name in names if not name.startswith(".") for e in READABLE_ENDINGS if name.endswith(e)]
    return next((e for e in seen if e in KSPACE_ENDINGS), seen[0] if seen else ".nii.gz")


def lines_of(ignored: dict[Path, str]) -> list[str]:
    """A line per file that is not taken."""
    return [f"{printable(path)}: {reason}" for path, reason in ignored.items()]


def composed(name: str) -> str:
    """The name in composed Unicode (NFC)."""
    return unicodedata.normalize("NFC", name)


def existing(path: Path, listed: dict[Path, dict[str, Path]]) -> Path:
    """The path, or the file beside it whose name is the same in composed Unicode.

    Args:
        listed: what was found in folders by earlier calls; this one adds its folder where it has to look.
    """
    folder = path.parent
    if path.exists() or not folder.is_dir():
        return path
    if folder not in listed:
        listed[folder] = {composed(p.name): p for p in folder.iterdir()}
    return listed[folder].get(composed(path.name), path)


def printable(path: Path) -> str:
    r"""The path on one line: line breaks as \n, bytes that are not UTF-8 as \udcff."""
    return "".join(c.encode("unicode_escape").decode() if _unprintable(c) else c for c in str(path))


def has_unusable_name(path: Path) -> bool:
    """True where a path holds control characters or is not UTF-8, so that no message or JSON can name it."""
    return any(map(_unprintable, str(path)))


def _unprintable(character: str) -> bool:
    return unicodedata.category(character) in ("Cc", "Cs")


def _one_case(path: Path) -> bool:
    ending = path.name[-len(file_ending(path)) :]
    return not file_ending(path).startswith(".nii") or ending in (ending.lower(), ending.upper())


def _reason(path: Path, endings: tuple[str, ...]) -> str | None:
    """Return the reason why an image file is not used; None where it is used, or is no image."""
    name = path.name.lower()
    other = next((e for e in OTHER_FORMATS if name.endswith(e)), None)
    known = name.endswith(endings)
    if known and path.is_dir():
        return "a folder; put the image that it holds in its place"
    unfinished = next((e for e in _UNFINISHED if name.endswith(e)), None)
    if unfinished is not None and name.removesuffix(unfinished).endswith(endings):
        return f"{unfinished}: a copy or download that is not finished; copy it again"
    if other is not None:
        return f"{other} is not read; convert it to one of {', '.join(FILE_ENDINGS)} or remove it"
    if known and has_unusable_name(Path(path.name)):
        return "its name holds control characters or is not UTF-8; rename it"
    if known and not _one_case(path):
        return "its ending mixes small and capital letters, which NIfTI does not allow; write it small"
    return None


def _no_scan(path: Path, known: tuple[str, ...]) -> str | None:
    """Return the reason why a file among scans is no scan; None where it may be one, or is no image."""
    name = path.name.lower()
    if name.endswith(".seg.nrrd") and not re.search(r"_[0-9]{4}\.seg\.nrrd$", name):
        return "a segmentation of 3D Slicer, not a scan; name a scan CASE_0000.nrrd"
    if name.endswith(KSPACE_ENDINGS) and not name.endswith(known):
        return (
            f"k-space, of which a dataset of images has none; write {_AS_KSPACE} in dataset.json or remove it"
        )
    return None
