"""kf_demo: everything at once, in a folder of its own."""

import os
import subprocess
from pathlib import Path

from workplace import SCRIPTS, finish


def test_demo_needs_nothing_and_shows_its_work(tmp_path: Path) -> None:
    process = subprocess.Popen(
        [SCRIPTS / "kf_demo", "--minutes", "0.03"],
        cwd=tmp_path,
        env={k: v for k, v in os.environ.items() if not k.startswith("kf_")},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    said = finish(process)
    assert "The time limit ended the training after" in said and "of 200 steps" in said
    assert "femoral_cartilage" in said
    assert "2 cases of 2 subjects" in said
    pictures = [line.strip() for line in said.splitlines() if line.strip().endswith(".png")]
    assert len(pictures) == 5 and pictures[3].endswith("completed_tibia/phantom07_R.png")
    assert pictures[4].endswith("reconstructed_knee/phantom_100.png")
    for picture in pictures:
        assert (tmp_path / picture).read_bytes().startswith(b"\x89PNG")
    page = (tmp_path / "kf_demo" / "report.html").read_text(encoding="utf-8")
    assert "phantom07_R" in page and "phantom_100" in page
    assert [p.name for p in tmp_path.iterdir()] == ["kf_demo"]
