"""The main job on a few real scans, where they are at hand: a smoke test of what phantoms cannot show."""

import json
import os
from pathlib import Path

import pytest
from workplace import TINY, Workplace

from kneeformer.data.images import read_image

DATA = Path(os.environ.get("KF_TEST_DATA", Path(__file__).resolve().parents[3] / "shared" / "data"))
HIPPOCAMPI = DATA / "Dataset004_Hippocampus"

pytestmark = pytest.mark.skipif(
    not HIPPOCAMPI.is_dir(), reason=f"no real data in {DATA}; name its folder in KF_TEST_DATA"
)


def test_hippocampi_from_folder_to_scores(tmp_path: Path) -> None:
    place = Workplace(tmp_path)
    for part in ("imagesTr", "labelsTr"):
        (place.raw / part).mkdir(parents=True)
        for file in sorted((HIPPOCAMPI / part).glob("*.nii.gz"))[:12]:
            (place.raw / part / file.name).symlink_to(file)
    description = json.loads((HIPPOCAMPI / "dataset.json").read_text())
    (place.raw / "dataset.json").write_text(json.dumps({**description, "numTraining": 12}))

    place.run("kf_plan_and_preprocess", "-d", 1, "-c", "3d_vit")
    plan = json.loads((place.preprocessed / "kfPlans.json").read_text())
    assert plan["configurations"]["3d_vit"]["preprocessing"]["spacing"] == pytest.approx([1, 1, 1])
    said = place.run("kf_train", 1, "3d_vit", "fold0", *TINY, "--epochs", 2)
    assert "anterior" in said and "posterior" in said
    predicted = sorted((place.model / "fold_0" / "validation").glob("*.nii.gz"))
    assert len(predicted) == 3  # a fifth of 12 subjects, rounded up
    for file in predicted:
        scan = read_image(HIPPOCAMPI / "imagesTr" / file.name.replace(".nii.gz", "_0000.nii.gz"))
        assert read_image(file).grid.mismatch(scan.grid) is None
