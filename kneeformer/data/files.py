"""Files written whole or not at all, and stamps that tell whether an input has changed."""

import hashlib
import json
import os
import shutil
import uuid
from pathlib import Path
from typing import Any, TypeVar

from pydantic import BaseModel, ValidationError

from kneeformer.errors import KneeformerError

Model = TypeVar("Model", bound=BaseModel)


def write_text(path: Path, text: str) -> None:
    """Replace `path` atomically: a reader, or a kill, sees the old text or the new, never half."""
    write_bytes(path, text.encode("utf-8"))


def write_bytes(path: Path, content: bytes) -> None:
    """As `write_text`."""
    path.parent.mkdir(parents=True, exist_ok=True)
    beside = unfinished(path)
    try:
        with beside.open("wb") as handle:
            handle.write(content)
            handle.flush()
            os.fsync(handle.fileno())
        beside.replace(path)
    finally:
        beside.unlink(missing_ok=True)


def unfinished(path: Path) -> Path:
    """A hidden name beside `path`, another at each call, to write under until the file is whole."""
    return path.with_name(f".{path.name}.{uuid.uuid4().hex}.unfinished")


def clear_unfinished(folder: Path) -> None:
    """Take away what killed commands left half-written in a folder, while nobody else writes in it."""
    for file in folder.glob(".*.unfinished"):
        file.unlink(missing_ok=True)
    for started in folder.glob(".writing-*"):
        shutil.rmtree(started, ignore_errors=True)


def write_json(path: Path, content: Any) -> None:
    write_text(path, json.dumps(content, indent=2, allow_nan=False) + "\n")


def read_json(path: Path) -> Any:
    """The content of a JSON file in UTF-8, -16 or -32, with or without a byte order mark.

    Raises:
        KneeformerError: missing, unreadable, not JSON (with the line), or with a key that stands twice.
    """
    try:
        return json.loads(path.read_bytes(), object_pairs_hook=_distinct)
    except FileNotFoundError as fault:
        raise KneeformerError(f"{path}: no such file") from fault
    except OSError as fault:
        raise KneeformerError(f"{path}: cannot be read ({fault.strerror})") from fault
    except UnicodeDecodeError as fault:
        raise KneeformerError(f"{path}: not UTF-8 text ({fault}); save it as UTF-8") from fault
    except (ValueError, RecursionError) as fault:
        raise KneeformerError(f"{path}: not valid JSON ({fault}); mend it") from fault


def _distinct(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """An object of JSON. Python's reader keeps the last of two equal keys, without a word."""
    found = dict(pairs)
    if len(found) < len(pairs):
        twice = sorted({key for key, _ in pairs if [k for k, _ in pairs].count(key) > 1})
        raise ValueError(f"{', '.join(map(repr, twice))} stands twice in one object")
    return found


def read_model(path: Path, kind: type[Model], remedy: str) -> Model:
    """What is kept in a JSON file, in its checked form.

    Args:
        remedy: what to do where it cannot be had.

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
