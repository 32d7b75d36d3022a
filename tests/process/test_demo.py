"""kf_demo: everything at once, in a folder of its own."""

import os
import subprocess
from pathlib import Path

from workplace import SCRIPTS, finish


def test_demo_needs_nothing_and_shows_its_work(tmp_path: Path) -> None:
    process = subprocess.Popen(
        [SCRIPTS / "kf_demo", "--minutes", "0.1"],
        cwd=tmp_path,
        env={k: v for k, v in os.environ.items() if not k.startswith("kf_")},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    said = finish(process)
    assert "femoral_cartilage" in said
    assert "2 cases of 2 subjects" in said
    pictures = [line.strip() for line in said.splitlines() if line.strip().endswith(".png")]
    assert len(pictures) == 3
    for picture in pictures:
        assert (tmp_path / picture).read_bytes().startswith(b"\x89PNG")
    assert [p.name for p in tmp_path.iterdir()] == ["kf_demo"]
