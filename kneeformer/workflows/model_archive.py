"""The file in which a model is shared (.kfm): a zip of weights as safetensors, plans and a model card.

Nothing in it is run or unpickled, and all of it is checked before any is used.
"""

import hashlib
import re
import stat
import zipfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from kneeformer import __version__
from kneeformer.data.files import written_whole
from kneeformer.errors import KneeformerError
from kneeformer.paths import DATASET_PATTERN, PLAIN_NAME, is_plain_name

FORMAT = 1  # of the file; an incompatible one gets the next number
MANIFEST, CARD = "manifest.json", "MODEL_CARD.md"
PLAN, WEIGHTS = "plan.json", "weights.safetensors"

_ENTRY = re.compile(rf"{CARD}|{PLAIN_NAME}/fold_(?:\d{{1,4}}|all)/(?:{PLAN}|{WEIGHTS})")
_LARGEST = {MANIFEST: 1 << 20, CARD: 1 << 20, PLAN: 1 << 24, WEIGHTS: 1 << 36}  # bytes
_MOST_ENTRIES = 1000


class Manifest(BaseModel):
    """The model that a file holds, and the checksum of each of its entries.

    Attributes:
        configurations: the model's own first, then those that its predictions need.
        checksums: SHA-256 of each entry but the manifest.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)

    format: int
    kneeformer: str
    dataset: str
    plans: str
    configurations: list[str] = Field(min_length=1)
    checksums: dict[str, Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]] = Field(min_length=1)


def write_archive(
    path: Path, dataset: str, plans: str, configurations: Sequence[str], entries: Mapping[str, bytes]
) -> None:
    """Write a model's file, whole or not at all.

    Args:
        configurations: as in `Manifest`.
        entries: contents by name; names match `_ENTRY`.
    """
    manifest = Manifest(
        format=FORMAT,
        kneeformer=__version__,
        dataset=dataset,
        plans=plans,
        configurations=list(configurations),
        checksums={name: hashlib.sha256(content).hexdigest() for name, content in entries.items()},
    )
    with written_whole(path) as beside, zipfile.ZipFile(beside, "w", zipfile.ZIP_STORED) as archive:
        archive.writestr(MANIFEST, manifest.model_dump_json(indent=2))
        for name, content in entries.items():
            archive.writestr(name, content)


def read_archive(path: Path) -> tuple[Manifest, dict[str, bytes]]:
    """Read a model's file and check all of it.

    Returns:
        The manifest, and the content of each other entry by name.

    Raises:
        KneeformerError: no such file, cut short or damaged; made by a newer version; or it holds what no
            model needs: other names, paths that lead elsewhere, links, compression.
    """
    if not path.is_file():
        raise KneeformerError(f"{path}: no such file")
    try:
        with zipfile.ZipFile(path) as archive:
            names = _checked_names(archive, path.stat().st_size)
            manifest = _manifest(archive.read(MANIFEST))
            contents = {name: archive.read(name) for name in names if name != MANIFEST}
    except _Refusal as reason:
        raise KneeformerError(f"{path}: not installed: {reason}") from reason
    except (zipfile.BadZipFile, EOFError, OSError, NotImplementedError, RuntimeError, ValueError) as fault:
        raise KneeformerError(
            f"{path}: not installed: not a complete model file ({fault}); get it again"
        ) from fault
    for name, content in contents.items():
        if hashlib.sha256(content).hexdigest() != manifest.checksums.get(name):
            raise KneeformerError(f"{path}: not installed: {name} has another checksum; get it again")
    if missing := sorted(manifest.checksums.keys() - contents.keys()):
        raise KneeformerError(f"{path}: not installed: {missing[0]} is missing; get it again")
    return manifest, contents


class _Refusal(Exception):
    """A fault of the archive; its text says which."""


def _checked_names(archive: zipfile.ZipFile, size: int) -> list[str]:
    """Check the entries, and return their names. Raises _Refusal."""
    entries = archive.infolist()
    names = [entry.filename for entry in entries]
    if len(entries) > _MOST_ENTRIES:
        raise _Refusal(f"{len(entries)} entries, which no model has")
    if len(set(names)) < len(names):
        raise _Refusal("two entries of one name")
    if MANIFEST not in names:
        raise _Refusal(f"it has no {MANIFEST}; make it with kf_export_model")
    for entry in entries:
        name = entry.filename
        if name != MANIFEST and _ENTRY.fullmatch(name) is None:
            raise _Refusal(f"{name!r:.80} belongs to no model; weights are {WEIGHTS} alone")
        if (mode := entry.external_attr >> 16) and not stat.S_ISREG(mode) and stat.S_IFMT(mode):
            raise _Refusal(f"{name} is a link or another special file")
        if entry.flag_bits & 1:
            raise _Refusal(f"{name} is encrypted")
        if entry.compress_type != zipfile.ZIP_STORED or entry.file_size != entry.compress_size:
            raise _Refusal(f"{name} is compressed, which model files are not")
        if entry.file_size > _LARGEST[name.rpartition("/")[2]]:
            raise _Refusal(f"{name} has {entry.file_size} bytes, which no model has")
    if sum(entry.file_size for entry in entries) > size:
        raise _Refusal("its entries overlap")
    return names


def _manifest(content: bytes) -> Manifest:
    """Raises _Refusal: damaged, of a newer format, or naming a place outside of the results folder."""
    try:
        manifest = Manifest.model_validate_json(content)
    except ValidationError as faults:
        first = faults.errors()[0]
        where = ".".join(map(str, first["loc"])) or "all of it"
        raise _Refusal(f"{MANIFEST} is damaged ({where:.80}: {first['msg']})") from faults
    if manifest.format != FORMAT:
        raise _Refusal(
            f"its format is {manifest.format}, made by kneeformer {manifest.kneeformer:.20}; this version "
            f"reads format {FORMAT}"
        )
    if len(set(manifest.configurations)) < len(manifest.configurations):
        raise _Refusal(f"{MANIFEST} names a configuration twice")
    if DATASET_PATTERN.fullmatch(manifest.dataset) is None or not all(
        map(is_plain_name, (manifest.dataset, manifest.plans, *manifest.configurations))
    ):
        raise _Refusal(f"{MANIFEST} names a place that is no model's: {manifest.dataset!r:.80}")
    return manifest
