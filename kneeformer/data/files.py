"""Small files written whole or not at all, and stamps that tell whether an input has changed."""

import hashlib
import json
import os
import uuid
from pathlib import Path
from typing import Any

from kneeformer.errors import KneeformerError


def write_text(path: Path, text: str) -> None:
    """Replace `path` atomically: a reader, or a kill, sees the old text or the new, never half."""
    write_bytes(path, text.encode("utf-8"))


def write_bytes(path: Path, content: bytes) -> None:
    """As `write_text`."""
    path.parent.mkdir(parents=True, exist_ok=True)
    unfinished = path.with_name(f".{path.name}.{uuid.uuid4().hex}")
    try:
        with unfinished.open("wb") as handle:
            handle.write(content)
            handle.flush()
            os.fsync(handle.fileno())
        unfinished.replace(path)
    finally:
        unfinished.unlink(missing_ok=True)


def write_json(path: Path, content: Any) -> None:
    write_text(path, json.dumps(content, indent=2, allow_nan=False) + "\n")


def read_json(path: Path) -> Any:
    """Raises KneeformerError: missing, or not JSON (with the line)."""
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError as fault:
        raise KneeformerError(f"{path}: no such file") from fault
    except (json.JSONDecodeError, UnicodeDecodeError) as fault:
        raise KneeformerError(f"{path}: not valid JSON ({fault}); mend it or delete it") from fault


def stamp(*paths: Path) -> str:
    """A digest of names, sizes and modification times: equal means the files are unchanged."""
    digest = hashlib.sha256()
    for path in paths:
        state = path.stat()
        digest.update(f"{path.name}:{state.st_size}:{state.st_mtime_ns};".encode())
    return digest.hexdigest()[:16]
