"""The published recipe beside our own, by the commands."""

import shutil
from pathlib import Path

from workplace import Workplace

from kneeformer.plans import read_plan


def test_the_published_recipe_is_planned_beside_our_own(raw: Workplace, tmp_path: Path) -> None:
    place = raw.copy(tmp_path / "place")
    ours = place.preprocessed / "kfPlans.json"
    place.run("kf_plan", "-d", 1, "-pl", "paper", "-np", 1)
    plan = read_plan(place.preprocessed / "paperPlans.json")
    assert plan.plans_name == "paperPlans" and not ours.exists()
    assert set(plan.configurations) == {"3d_vit", "3d_vit_linear", "3d_mae"}
    assert plan.configuration("3d_vit").preprocessing.fixed_shape == (36, 320, 320)
    evidence = plan.configuration("3d_vit").evidence
    assert evidence is not None and evidence.measured is not None
    shutil.copy(place.preprocessed / "paperPlans.json", ours)
    printed = place.run("kf_compare_with_paper", "-d", 1)
    assert "0.8727" in printed and "kf_train 1 3d_vit_linear fold0 -p paperPlans" in printed
    assert "kf_plan" not in printed
    refused = place.run("kf_plan", "-d", 1, "-pl", "nature", code=2)
    assert "invalid choice: 'nature'" in refused
