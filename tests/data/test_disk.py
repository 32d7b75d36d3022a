"""Faults of the disk: in one sentence, before the work where they can be known, and never half a file."""

import errno
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from faulty_disks import forbidden_folder, largest_file, small_disk

from kneeformer.data.disk import DiskError, free_disk_problem, in_words, require_writable
from kneeformer.data.files import write_bytes, write_json
from kneeformer.data.images import write_image
from kneeformer.data.storage import CaseRecord, Origin, save_case
from kneeformer.data.transform_files import write_transform
from kneeformer.engine.checkpoint import save_checkpoint
from kneeformer.engine.log import TrainingLog
from kneeformer.errors import KneeformerError
from kneeformer.geometry.grid import Grid
from kneeformer.reporting.training_curves import draw_training_curves

NOISE = np.random.default_rng(0).bytes(1 << 16)
CUBE = np.frombuffer(NOISE, np.uint8).reshape(16, 64, 64)
WRITERS: dict[str, Callable[[Path], None]] = {
    "bytes": lambda path: write_bytes(path, NOISE),
    "json": lambda path: write_json(path, list(range(10_000))),
    "checkpoint.pt": lambda path: save_checkpoint(path, {"network": {"weight": torch.rand(1 << 14)}}),
    "progress.png": lambda path: draw_training_curves([], path),
    "K01.b2nd": lambda path: save_image(path),  # noqa: PLW0108 - defined below
    "K01.nrrd": lambda path: write_image(path, CUBE, Grid((16, 64, 64), (1.0, 1.0, 1.0))),
    "pose.tfm": lambda path: write_transform(path, np.eye(4)),
}


def save_image(path: Path) -> None:
    record = CaseRecord(
        origin=Origin(settings="", files=""),
        shape=CUBE.shape,
        spacing=(1, 1, 1),
        orientation="SPL",
        points={},
    )
    save_case(path.parent, path.stem, CUBE[None], None, record, (8, 8, 8))


class TestInWords:
    def test_the_file_the_reason_and_the_remedy(self) -> None:
        fault = OSError(errno.ENOSPC, "No space left on device", "/results/a.pt")
        assert in_words(fault) == (
            "/results/a.pt: the disk is full; free some space, or choose a folder on another disk"
        )
        assert in_words(fault, Path("b.pt")).startswith("b.pt: the disk is full; ")

    def test_the_system_names_no_file_where_it_writes(self) -> None:
        assert in_words(OSError(errno.EIO, "Input/output error")) == (
            "the disk, or the network that leads to it, does not answer; check it and try again"
        )

    def test_what_is_not_known_is_said_as_the_system_says_it(self) -> None:
        assert in_words(OSError(errno.EDOM, "Strange", "a.pt")) == "a.pt: Strange; check the disk"


class TestWhole:
    @pytest.mark.parametrize("name", WRITERS)
    def test_a_disk_that_takes_no_more_leaves_the_old_file(self, name: str, tmp_path: Path) -> None:
        path = tmp_path / name
        path.write_text("older")
        with largest_file(100), pytest.raises(DiskError) as fault:
            WRITERS[name](path)
        assert str(fault.value).startswith(f"{path}: ")
        assert path.read_text() == "older" and list(tmp_path.iterdir()) == [path]
        WRITERS[name](path)
        assert path.read_bytes() != b"older" and not list(tmp_path.glob(".*"))

    @pytest.mark.parametrize("name", WRITERS)
    def test_a_full_disk_is_called_full(self, name: str, tmp_path: Path) -> None:
        with small_disk(tmp_path / "disk", 64 << 10) as disk:
            (disk / "other").write_bytes(bytes(60 << 10))
            (disk / "last").write_bytes(bytes(4 << 10 if name == "pose.tfm" else 0))
            with pytest.raises(DiskError, match=rf"{name}: the disk is full; free some space"):
                WRITERS[name](disk / name)
            assert {p.name for p in disk.iterdir()} == {"other", "last"}

    def test_a_folder_in_the_way_is_named(self, tmp_path: Path) -> None:
        (tmp_path / "plan.json").mkdir()
        with pytest.raises(DiskError, match=r"plan\.json: a folder, where a file belongs; give another path"):
            write_json(tmp_path / "plan.json", {})
        assert [p.name for p in tmp_path.iterdir()] == ["plan.json"]

    def test_a_file_in_the_way_of_a_folder_is_named(self, tmp_path: Path) -> None:
        (tmp_path / "results").write_text("a file")
        with pytest.raises(DiskError, match=r"results: something of this name is in the way|not a folder"):
            write_json(tmp_path / "results" / "plan.json", {})

    def test_a_log_names_its_file(self, tmp_path: Path) -> None:
        log = TrainingLog(tmp_path / "log.jsonl", 0)
        with largest_file(20), pytest.raises(DiskError, match=r"log\.jsonl: the file is larger than"):
            log.write({"step": 1, "loss": 0.123456789})
        log.close()


class TestRequireWritable:
    def test_a_folder_that_is_not_there_is_not_made(self, tmp_path: Path) -> None:
        require_writable(tmp_path / "not" / "there" / "yet", tmp_path, needed_bytes=1)
        assert not list(tmp_path.iterdir())

    def test_every_fault_is_listed(self, tmp_path: Path) -> None:
        (file := tmp_path / "file").write_text("")
        (loop := tmp_path / "loop").symlink_to(loop)
        long = tmp_path / ("n" * 300)
        with forbidden_folder() as forbidden, pytest.raises(KneeformerError) as fault:
            require_writable(forbidden, forbidden / "deeper")
        assert str(fault.value).splitlines() == [
            f"{folder}: results cannot be written here: permission denied; change its owner or its "
            f"permissions, or choose another place"
            for folder in (forbidden, forbidden / "deeper")
        ]
        with pytest.raises(KneeformerError) as fault:
            require_writable(file, file / "deeper", loop, long, tmp_path)
        lines = str(fault.value).splitlines()
        assert [line.split(": ")[0] for line in lines] == [
            str(file),
            str(file / "deeper"),
            str(loop),
            str(long),
        ]
        assert [line.split(": ")[-1].split(";")[0] for line in lines] == [
            "a part of the path is a file, not a folder",
            "a part of the path is a file, not a folder",
            "a link that leads back to itself",
            "the name is too long for this disk",
        ]

    def test_a_full_disk_takes_empty_files_but_no_results(self, tmp_path: Path) -> None:
        with largest_file(100), pytest.raises(KneeformerError, match="results cannot be written here"):
            require_writable(tmp_path)

    def test_enough(self, tmp_path: Path) -> None:
        assert free_disk_problem(tmp_path / "not" / "there" / "yet", 1) is None

    def test_too_little(self, tmp_path: Path) -> None:
        line = free_disk_problem(tmp_path / "not yet", 10**18)
        assert line is not None
        assert line.startswith(f"{tmp_path}/not yet: the disk has ")
        assert line.endswith(
            " GB free and about 1000000000.0 GB are needed; "
            "free some space or choose a folder on another disk"
        )
        with pytest.raises(KneeformerError, match="not yet: the disk has "):
            require_writable(tmp_path / "not yet", needed_bytes=10**18)
