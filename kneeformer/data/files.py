"""Files written whole or not at all, and stamps that detect changed inputs."""

import hashlib
import json
import os
import uuid
from collections.abc import Container, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, TypeVar

from pydantic import BaseModel, ValidationError

from kneeformer.data.disk import DiskError, in_words
from kneeformer.errors import KneeformerError

Model = TypeVar("Model", bound=BaseModel)


@contextmanager
def written_whole(path: Path) -> Iterator[Path]:
    """A hidden name beside `path` to write a file under; at the end of the block it is renamed to `path`.

    A reader, or a kill, sees the old file or the new, never half. The block does nothing but the writing.

    Raises:
        DiskError: it could not be written, and the old file is as it was. C libraries raise a RuntimeError
            for this.
    """
    beside = unfinished(path)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        yield beside
        _reach_the_disk(beside)
        beside.replace(path)
    except OSError as fault:
        raise DiskError(_why(fault, beside, path)) from fault
    except RuntimeError as fault:
        raise DiskError(_why_a_library_failed(fault, beside, path)) from fault
    finally:
        with suppress(OSError):
            beside.unlink(missing_ok=True)


def unfinished(path: Path) -> Path:
    """A hidden name beside `path` with its ending, another at each call, for an unfinished file."""
    return path.with_name(f".{uuid.uuid4().hex}.unfinished.{path.name}")


def write_text(path: Path, text: str) -> None:
    """Replace `path`, as `written_whole` does."""
    write_bytes(path, text.encode("utf-8"))


def write_bytes(path: Path, content: bytes) -> None:
    """As `write_text`."""
    with written_whole(path) as beside:
        beside.write_bytes(content)


def clear_unfinished(folder: Path, names: Container[str] | None = None) -> None:
    """Remove unfinished files of killed commands from a folder, while nobody else writes there.

    Args:
        names: of the intended files, if others write in the folder too; None: all.
    """
    for file in folder.glob(".*.unfinished.*"):
        if names is None or file.name.split(".unfinished.", 1)[1] in names:
            file.unlink(missing_ok=True)


def write_json(path: Path, content: Any) -> None:
    """Write a value as indented JSON, whole or not at all."""
    write_text(path, json.dumps(content, indent=2, allow_nan=False) + "\n")


def read_json(path: Path) -> Any:
    """The content of a JSON file in UTF-8, -16 or -32, with or without a byte order mark.

    Raises:
        KneeformerError: missing, unreadable, not JSON (with the line), or with a repeated key.
    """
    try:
        return json.loads(path.read_bytes(), object_pairs_hook=_distinct)
    except FileNotFoundError as fault:
        raise KneeformerError(f"{path}: no such file") from fault
    except OSError as fault:
        raise KneeformerError(in_words(fault, path)) from fault
    except UnicodeDecodeError as fault:
        raise KneeformerError(f"{path}: not UTF-8 text ({fault}); save it as UTF-8") from fault
    except (ValueError, RecursionError) as fault:
        raise KneeformerError(f"{path}: not valid JSON ({fault}); fix it") from fault


def _distinct(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """An object of JSON without repeated keys. Python's reader silently keeps the last of them."""
    found = dict(pairs)
    if len(found) < len(pairs):
        twice = sorted({key for key, _ in pairs if [k for k, _ in pairs].count(key) > 1})
        raise ValueError(f"{', '.join(map(repr, twice))} occurs twice in one object")
    return found


def read_model(path: Path, kind: type[Model], remedy: str) -> Model:
    """Read a JSON file into its checked form.

    Args:
        remedy: what to do if it cannot be read.

    Raises:
        KneeformerError: missing, not JSON, or of another form; with the first fault and the remedy.
    """
    try:
        return kind.model_validate(read_json(path))
    except KneeformerError as fault:
        raise KneeformerError(f"{fault}; {remedy}") from fault
    except ValidationError as faults:
        first = faults.errors()[0]
        where = ".".join(map(str, first["loc"])) or "all of it"
        raise KneeformerError(
            f"{path}: damaged, or not of kneeformer ({where:.80}: {first['msg']}); {remedy}"
        ) from faults


def stamp(*paths: Path) -> str:
    """A digest of names, sizes and modification times: equal means the files are unchanged."""
    digest = hashlib.sha256()
    for path in paths:
        state = path.stat()
        digest.update(f"{path.name}:{state.st_size}:{state.st_mtime_ns};".encode())
    return digest.hexdigest()[:16]


def _reach_the_disk(file: Path) -> None:
    with file.open("rb+") as handle:
        os.fsync(handle.fileno())


def _why(fault: OSError, beside: Path, path: Path) -> str:
    """The fault in words; it names the path if that is not `path`, such as a folder above it."""
    named = fault.filename
    return in_words(fault, path if named is None or Path(named) == beside else None)


def _why_a_library_failed(fault: RuntimeError, beside: Path, path: Path) -> str:
    """Libraries lose the system's reason; writing a few more bytes to the same place finds it again."""
    try:
        with beside.open("ab") as handle:
            handle.write(bytes(1 << 16))
    except OSError as reason:
        return _why(reason, beside, path)
    said = (str(fault).strip().splitlines() or [type(fault).__name__])[-1].strip()
    return f"{path}: could not be written ({said}); check the space and the permissions of its folder"
