"""What a plan must not say though its type is right: numbers have ranges, names stay in their folder."""

import json
import math
from pathlib import Path
from typing import Any

import pytest
from test_plan import changed, content, plan, refusal

from kneeformer.errors import KneeformerError
from kneeformer.paths import Folders
from kneeformer.plans import (
    override,
    parse_plan,
    read_dataset_plan,
    read_fold_plan,
    read_plan,
)

VIT = "configurations.3d_vit."


def bones(**changes: Any) -> dict[str, Any]:
    """The content with a completion by an autoencoder instead of a transformer."""
    edited = content()
    bone = {
        "task": "completion",
        "preprocessing": {"folder": "bones", "spacing": [2, 2, 2], "grid": [16, 16, 16]},
        "registration": {},
        "prior": {"kind": "vae"},
        "learning": {},
        "training": {**edited["configurations"]["3d_vit"]["training"], "crop": [16, 16, 16]},
    }
    edited["configurations"] = {"3d_vae": {**bone, **changes}}
    return edited


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("training.crop", [8, 10**9, 32]),
        ("training.batch_size", 10**9),
        ("training.epochs", 10**9),
        ("training.epochs", 1e30),
        ("training.epochs", -1),
        ("training.epochs", 0),
        ("training.steps_per_epoch", 10**9),
        ("training.steps_per_epoch", 0),
        ("training.validation_crops", 0),
        ("training.learning_rate", math.inf),
        ("training.learning_rate", math.nan),
        ("training.learning_rate", 0),
        ("training.learning_rate", 1e9),
        ("training.weight_decay", math.nan),
        ("training.gradient_clip", 0),
        ("training.loss", "points"),
        ("network.width", 10**9),
        ("network.depth", 10**9),
        ("network.heads", 0),
        ("network.mlp_ratio", 1e9),
        ("network.drop_path", 1),
        ("network.rotary_periods_mm", [400, 4]),
        ("network.rotary_periods_mm", [0, 4]),
        ("network.stem.0.stride", [1, 0, 2]),
        ("network.stem.0.stride", [1, 2**40, 2]),
        ("network.stem.0.kernel", [1, 1001, 3]),
        ("preprocessing.spacing", [1e-9, 1, 1]),
        ("preprocessing.spacing", [1, 1e9, 1]),
        ("preprocessing.spacing", [1, math.nan, 1]),
        ("preprocessing.median_shape", [0, 64, 64]),
        ("preprocessing.thick_axis", 3),
        ("preprocessing.normalisation", [{"kind": "ct", "lower": 500, "upper": -500}]),
        ("preprocessing.normalisation", [{"kind": "ct", "lower": 500, "upper": 500}]),
        ("preprocessing.normalisation", [{"kind": "ct", "deviation": 0}]),
        ("augmentation.mirror_axes", ["RL", "RL"]),
        ("augmentation.scale", [1.4, 0.7]),
        ("augmentation.scale", [0, 1]),
        ("augmentation.rotation_degrees", [-15, 0, 0]),
        ("augmentation.rotation_degrees", [math.inf, 0, 0]),
        ("augmentation.noise_probability", 1.1),
        ("augmentation.position_jitter_mm", 1e9),
        ("inference.mirror_axes", [0]),
        ("inference.window_overlap", 0.9999),
        ("inference.whole_volume_tokens", 10**18),
    ],
)
def test_a_value_outside_its_range_is_refused_with_its_key(key: str, value: Any) -> None:
    text = refusal(changed(f"{VIT}{key}", value))
    # a fault of several values together is told of what holds them, with the key in its sentence
    assert any(line.startswith("  configurations.3d_vit") and _named(key, line) for line in text.splitlines())


def _named(key: str, line: str) -> bool:
    where, _, said = line.partition(": ")
    return where.startswith(f"  {VIT}{key}") or key in said


@pytest.mark.parametrize("number", [10**9, 10**30, "1" * 4000])
def test_the_value_and_the_bound_are_in_one_short_line(number: Any) -> None:
    line = refusal(changed(f"{VIT}training.epochs", number)).splitlines()[1]
    assert line.startswith("  configurations.3d_vit.training.epochs: ") and len(line) < 250
    if number == 10**9:
        assert "less than or equal to 1000000 (it is 1000000000)" in line


@pytest.mark.parametrize(
    "folder", ["../elsewhere", "/tmp/x", "a/b", "a\\b", "..", ".", "", ".hidden", "a\nb", "x" * 101]
)
@pytest.mark.parametrize("key", [f"{VIT}preprocessing.folder", "dataset.name", "plans_name"])
def test_no_name_leads_out_of_its_folder(key: str, folder: str) -> None:
    assert f"  {key}: must be a name alone" in refusal(changed(key, folder))


def test_no_configuration_leads_out_of_its_folder() -> None:
    edited = content()
    edited["configurations"]["../../3d_vit"] = edited["configurations"]["3d_vit"]
    assert "must be a name alone" in refusal(edited)


def test_names_of_the_command_line_stay_in_their_folder_too(tmp_path: Path) -> None:
    folders = Folders(tmp_path / "raw", tmp_path / "preprocessed", tmp_path / "results")
    for plans in ("../kfPlans", "a/b", ".hidden", ""):
        with pytest.raises(KneeformerError, match=r"-p .*give a name alone"):
            folders.plan_file("Dataset001_Knee", plans)
        with pytest.raises(KneeformerError, match=r"-p .*give a name alone"):
            folders.model("Dataset001_Knee", "3d_vit", plans)
    with pytest.raises(KneeformerError, match=r"configuration '\.\./3d_vit': give a name alone"):
        folders.model("Dataset001_Knee", "../3d_vit")


@pytest.mark.parametrize(
    ("labels", "order", "fault"),
    [
        ({"background": 0, "femur": -1}, None, "'femur' has the value -1; give it one of 1 to 2147483647"),
        (
            {"background": 0, "femur": 1, "bone": [1, -2]},
            [1, 2],
            "has the value -2; give it one of 1 to",
        ),
        ({"femur": 1}, None, 'labels must contain "background": 0'),
        ({"background": 0}, None, "labels name no structure"),
        ({"background": 0, "bone": []}, [1], "the region 'bone' is empty"),
    ],
)
def test_labels_that_make_no_scheme(labels: Any, order: Any, fault: str) -> None:
    edited = changed("dataset.labels", labels)
    edited["dataset"]["regions_class_order"] = order
    assert fault in refusal(edited)


@pytest.mark.parametrize("ending", ["", "nrrd", "../x.nrrd", ".nrrd/../x", "."])
def test_a_file_ending_is_an_ending(ending: str) -> None:
    assert "  dataset.file_ending: " in refusal(changed("dataset.file_ending", ending))


@pytest.mark.parametrize(
    ("changes", "fault"),
    [
        ({"preprocessing": {"folder": "b", "spacing": [2] * 3, "grid": [12, 16, 16]}}, "[16, 16, 16] is"),
        ({"learning": None}, "prior.kind 'vae' is trained by steps"),
        ({"prior": {"kind": "pca"}}, "prior.kind 'pca' is fitted in closed form"),
        ({"prior": {"components": 10**9}}, ".prior.components: "),
        ({"prior": {"correlation_mm": math.nan}}, ".prior.correlation_mm: "),
        ({"learning": {"scale": [1.1, 0.9]}}, ".learning.scale: [1.1, 0.9] runs backwards"),
        ({"learning": {"rotation_degrees": 1e9}}, ".learning.rotation_degrees: "),
        ({"registration": {"locnet": {"scale_limit": math.inf}}}, ".registration.locnet.scale_limit: "),
        ({"registration": {"rounds": 10**9}}, ".registration.rounds: "),
    ],
)
def test_bones(changes: dict[str, Any], fault: str) -> None:
    assert parse_plan(bones(), "test")
    assert fault in refusal(bones(**changes))


@pytest.mark.parametrize("window", [[1500, -200], [0, 0], [math.nan, 1], [-1e9, 1e9]])
def test_a_window_of_hounsfield_units_is_open(window: list[float]) -> None:
    edited = bones()
    edited["configurations"]["3d_vae"]["preprocessing"]["window_hu"] = window
    assert "  configurations.3d_vae.preprocessing.window_hu" in refusal(edited)


def test_one_token_cannot_be_masked() -> None:
    edited = changed(f"{VIT}training.crop", [1, 4, 4])
    edited["configurations"]["3d_vit"]["masking"] = {}
    assert "masking" in refusal(edited)


@pytest.mark.parametrize("version", [2, 0, "2", None, [1]])
def test_a_plan_of_another_version_says_what_to_do(version: Any) -> None:
    edited = changed("dataset.name", "Dataset001_Knee") | {"version": version, "from_the_future": 1}
    assert refusal(edited) == (
        f"kfPlans.json: version is {version!r}, and this kneeformer reads plans of version 1: update "
        f"kneeformer, or plan again with kf_plan"
    )


@pytest.mark.parametrize(
    ("value", "fault"),
    [([1], "configurations.3d_vit: must be an object of settings"), (None, "must be an object of settings")],
)
def test_a_configuration_that_is_none(value: Any, fault: str) -> None:
    edited = content()
    edited["configurations"]["3d_vit"] = value
    assert fault in refusal(edited)


@pytest.mark.parametrize("parent", [["3d_vit"], 3, {}, "x" * 1000])
def test_inheriting_from_what_is_no_name(parent: Any) -> None:
    edited = changed("configurations.3d_vit_linear.inherits_from", parent)
    assert "configurations.3d_vit_linear.inherits_from: " in refusal(edited)


@pytest.mark.parametrize(
    "text",
    [b"\xff\xfe\x00", b"[" * 100_000, b'{"version": ' + b"9" * 5000 + b"}", b"<html></html>", b""],
    ids=["bytes", "deep", "long number", "page", "empty"],
)
def test_a_file_that_is_no_json_is_named(tmp_path: Path, text: bytes) -> None:
    file = tmp_path / "kfPlans.json"
    file.write_bytes(text)
    with pytest.raises(
        KneeformerError, match=r"kfPlans\.json: not (valid JSON|UTF-8 text) .*kf_plan_and_preprocess"
    ):
        read_plan(file)


def test_a_byte_order_mark_is_no_fault(tmp_path: Path) -> None:
    file = tmp_path / "kfPlans.json"
    file.write_text(plan().to_text(), encoding="utf-8-sig")
    assert read_plan(file) == plan()


def test_a_plan_in_the_place_of_another_datasets(tmp_path: Path) -> None:
    folders = Folders(tmp_path / "raw", tmp_path / "preprocessed", tmp_path / "results")
    file = folders.plan_file("Dataset002_Other")
    file.parent.mkdir(parents=True)
    file.write_text(plan().to_text())
    with pytest.raises(KneeformerError, match=r"dataset\.name is 'Dataset001_Knee'.*kf_plan -d Dataset002_O"):
        read_dataset_plan(folders, "Dataset002_Other", "kfPlans")


def test_the_plan_of_a_fold_has_one_configuration(tmp_path: Path) -> None:
    with pytest.raises(KneeformerError, match=r"plan\.json: no such plan; retrain the fold"):
        read_fold_plan(tmp_path)
    (tmp_path / "plan.json").write_text(plan().to_text())
    with pytest.raises(KneeformerError, match=r"plan\.json: has 2 configurations"):
        read_fold_plan(tmp_path)
    alone = plan().with_only("3d_vit")
    (tmp_path / "plan.json").write_text(alone.to_text())
    assert read_fold_plan(tmp_path) == alone


@pytest.mark.parametrize(
    "assignment",
    [
        "training.epochs=1e9",
        "training.learning_rate=Infinity",
        "training.learning_rate=NaN",
        "training.crop=[1000000000,1000000000,1000000000]",
        "preprocessing.folder=../../x",
        "augmentation.mirror_axes=[1]",
        "training={}",
        "network.stem=[]",
        "evidence=[[[[1]]]]",
        "training.epochs=" + "[" * 100_000,
    ],
    ids=lambda text: text[:30],
)
def test_set_is_checked_by_the_same_ranges(assignment: str) -> None:
    key = assignment.partition("=")[0]
    with pytest.raises(KneeformerError, match=f"--set: not a valid plan:\n  {VIT}{key}"):
        override(plan(), "3d_vit", [assignment])


def test_set_of_a_configuration_that_is_not_there() -> None:
    with pytest.raises(KneeformerError, match="has no configuration '2d'"):
        override(plan(), "2d", ["training.epochs=1"])


def test_what_is_planned_is_within_the_ranges() -> None:
    """Crops and grids of the largest scans there are, and settings at the ends of their ranges."""
    edited = changed(f"{VIT}preprocessing.median_shape", [2000, 2048, 2048])
    edited["configurations"]["3d_vit"]["training"]["epochs"] = 1_000_000
    assert json.loads(parse_plan(edited, "test").to_text())
