"""The plan file: what it says is what is read, what a person edits counts, and what cannot be is refused."""

import json
from pathlib import Path
from typing import Any

import pytest

from kneeformer.errors import KneeformerError
from kneeformer.plans import Plan, override, parse_plan, read_plan


def content() -> dict[str, Any]:
    """A plan of two configurations as a person would write it: tokens of 1 x 4 x 4 voxels."""
    return {
        "dataset": {
            "name": "Dataset001_Knee",
            "channel_names": ["PD"],
            "labels": {"background": 0, "bone": [1, 2], "femur": 1},
            "regions_class_order": [2, 1],
            "file_ending": ".nrrd",
        },
        "configurations": {
            "3d_vit": {
                "task": "segmentation",
                "preprocessing": {
                    "folder": "3d_vit",
                    "spacing": [3.0, 0.5, 0.5],
                    "orientations": ["LIP"],
                    "median_shape": [20, 64, 64],
                    "thick_axis": 0,
                    "normalisation": [{"kind": "zscore"}],
                },
                "network": {
                    "stem": [
                        {"channels": 8, "stride": [1, 2, 2], "kernel": [1, 3, 3]},
                        {"channels": 24, "stride": [1, 2, 2], "kernel": [3, 3, 3]},
                    ],
                    "width": 24,
                    "depth": 2,
                    "heads": 2,
                },
                "training": {
                    "crop": [8, 32, 32],
                    "batch_size": 2,
                    "epochs": 3,
                    "steps_per_epoch": 4,
                    "learning_rate": 0.001,
                },
                "augmentation": {"mirror_axes": ["RL"]},
                "inference": {"whole_volume_tokens": 1000},
            },
            "3d_vit_linear": {"inherits_from": "3d_vit", "network": {"decoder": "linear"}},
        },
    }


def changed(path: str, value: Any) -> dict[str, Any]:
    """The content with one value set; `path` as in --set."""
    edited = content()
    *parents, last = path.split(".")
    place: Any = edited
    for key in parents:
        place = place[int(key) if isinstance(place, list) else key]
    place[last] = value
    return edited


def refusal(edited: Any) -> str:
    with pytest.raises(KneeformerError) as caught:
        parse_plan(edited, "kfPlans.json")
    return str(caught.value)


def test_json_round_trip() -> None:
    plan = parse_plan(content(), "test")
    assert parse_plan(json.loads(plan.to_text()), "test") == plan
    assert plan.configuration("3d_vit").network.token == (1, 4, 4)


def test_what_inherits_is_written_as_its_difference() -> None:
    written = json.loads(parse_plan(content(), "test").to_text())["configurations"]
    assert written["3d_vit_linear"] == {"inherits_from": "3d_vit", "network": {"decoder": "linear"}}
    assert written["3d_vit"]["network"]["decoder"] == "cnn"


def test_a_chain_of_inheritance_resolves_from_the_root_and_round_trips() -> None:
    edited = content()
    edited["configurations"] = {
        "last": {"inherits_from": "3d_vit_linear", "training": {"epochs": 9}},
        **edited["configurations"],
    }
    plan = parse_plan(edited, "test")
    last = plan.configuration("last")
    assert (last.network.decoder, last.training.epochs, last.training.crop) == ("linear", 9, (8, 32, 32))
    assert parse_plan(json.loads(plan.to_text()), "test") == plan
    assert json.loads(plan.to_text())["configurations"]["last"] == edited["configurations"]["last"]


def test_a_value_set_back_to_null_survives_the_difference() -> None:
    edited = changed("configurations.3d_vit_linear.preprocessing", {"thick_axis": None})
    plan = parse_plan(edited, "test")
    assert plan.configuration("3d_vit_linear").preprocessing.thick_axis is None
    assert parse_plan(json.loads(plan.to_text()), "test") == plan


def test_an_edit_of_the_parent_reaches_who_inherits(tmp_path: Path) -> None:
    file = tmp_path / "kfPlans.json"
    file.write_text(parse_plan(content(), "test").to_text())
    edited = json.loads(file.read_text())
    edited["configurations"]["3d_vit"]["training"]["learning_rate"] = 0.5
    file.write_text(json.dumps(edited))
    plan = read_plan(file)
    assert [c.training.learning_rate for c in plan.configurations.values()] == [0.5, 0.5]


def test_one_configuration_stands_alone() -> None:
    alone = parse_plan(content(), "test").with_only("3d_vit_linear")
    assert list(alone.configurations) == ["3d_vit_linear"]
    assert alone.configuration("3d_vit_linear").inherits_from is None
    assert parse_plan(json.loads(alone.to_text()), "test") == alone


def test_a_plan_is_frozen() -> None:
    with pytest.raises(ValueError, match="frozen"):
        parse_plan(content(), "test").plans_name = "other"  # type: ignore[misc]


@pytest.mark.parametrize(
    ("path", "value", "fault"),
    [
        (
            "configurations.3d_vit.inference.overlap",
            0.5,
            "  configurations.3d_vit.inference.overlap: no such setting; settings here: "
            "whole_volume_tokens, window_overlap, mirror_axes",
        ),
        (
            "configurations.3d_vit.network.stem.0.strides",
            2,
            "  configurations.3d_vit.network.stem.0.strides: no such setting; settings here: "
            "channels, stride, kernel",
        ),
        (
            "plan_name",
            "mine",
            "  plan_name: no such setting; settings here: version, plans_name, dataset, configurations",
        ),
        (
            "configurations.3d_vit.network.decoder",
            "unet",
            "  configurations.3d_vit.network.decoder: Input should be 'cnn' or 'linear' (it is 'unet')",
        ),
        (
            "configurations.3d_vit.training.epochs",
            "many",
            "  configurations.3d_vit.training.epochs: Input should be a valid integer, unable to parse "
            "string as an integer (it is 'many')",
        ),
        (
            "configurations.3d_vit.training.learning_rate",
            -1,
            "  configurations.3d_vit.training.learning_rate: Input should be greater than 0 (it is -1)",
        ),
        (
            "configurations.3d_vit.training.crop",
            [8, 30, 35],
            "  configurations.3d_vit: training.crop [8, 30, 35] is not whole tokens of [1, 4, 4]; "
            "[8, 32, 36] is",
        ),
        (
            "configurations.3d_vit.training.crop",
            [8, 1, 4],
            "  configurations.3d_vit: training.crop [8, 1, 4] is not whole tokens of [1, 4, 4]; [8, 4, 4] is",
        ),
        (
            "configurations.3d_vit.network.heads",
            3,
            "  configurations.3d_vit.network: width 24 over heads 3 must be a multiple of 6 (three rotary "
            "axes, in pairs); heads that fit: [1, 2, 4]",
        ),
        (
            "configurations.3d_vit.network.stem.1.channels",
            16,
            "  configurations.3d_vit.network: the last stem stage must have `width` = 24 channels",
        ),
        (
            "dataset.channel_names",
            ["PD", "T1"],
            "  plan: 3d_vit.preprocessing.normalisation has 1 entries for 2 channels",
        ),
    ],
)
def test_a_fault_is_named_with_its_path_and_the_choices(path: str, value: Any, fault: str) -> None:
    assert fault in refusal(changed(path, value)).splitlines()


def test_every_fault_is_listed_at_once() -> None:
    edited = changed("configurations.3d_vit.training.lr", 1)
    edited["configurations"]["3d_vit"]["network"]["depth"] = 0
    lines = refusal(edited).splitlines()
    assert lines[0] == "kfPlans.json: not a valid plan:"
    for name in ("3d_vit", "3d_vit_linear"):
        assert any(line.startswith(f"  configurations.{name}.training.lr: no such") for line in lines)
        assert any(line.startswith(f"  configurations.{name}.network.depth: ") for line in lines)


def test_the_crop_that_is_offered_is_accepted() -> None:
    line = refusal(changed("configurations.3d_vit.training.crop", [8, 30, 35])).splitlines()[1]
    offered = line.split("; ")[1].removesuffix(" is")
    assert parse_plan(changed("configurations.3d_vit.training.crop", json.loads(offered)), "test")


@pytest.mark.parametrize("side", [2, 4])
def test_an_even_kernel_is_refused_because_it_shifts_the_grid(side: int) -> None:
    edited = changed("configurations.3d_vit.network.stem.1.kernel", [3, side, 3])
    assert "configurations.3d_vit.network.stem.1.kernel: " in refusal(edited)


def test_inheriting_in_a_circle() -> None:
    edited = changed("configurations.3d_vit.inherits_from", "3d_vit_linear")
    assert refusal(edited) == (
        "kfPlans.json: configurations.3d_vit.inherits_from is circular: 3d_vit > 3d_vit_linear"
    )


def test_inheriting_from_itself() -> None:
    edited = changed("configurations.3d_vit.inherits_from", "3d_vit")
    assert refusal(edited) == "kfPlans.json: configurations.3d_vit.inherits_from is circular: 3d_vit"


def test_inheriting_from_what_is_not_there() -> None:
    edited = changed("configurations.3d_vit_linear.inherits_from", "2d")
    assert refusal(edited) == (
        "kfPlans.json: configurations.3d_vit_linear.inherits_from: '2d' is none of 3d_vit, 3d_vit_linear"
    )


def test_a_configuration_that_is_not_there() -> None:
    with pytest.raises(KneeformerError) as caught:
        parse_plan(content(), "test").configuration("2d")
    assert str(caught.value) == "kfPlans has no configuration '2d'; it has 3d_vit, 3d_vit_linear"


@pytest.mark.parametrize("text", ["[]", "3", "{}", '{"configurations": [1]}'])
def test_json_that_is_no_plan(tmp_path: Path, text: str) -> None:
    file = tmp_path / "kfPlans.json"
    file.write_text(text)
    with pytest.raises(KneeformerError, match=r"kfPlans\.json: not a "):
        read_plan(file)


def test_no_file_and_no_json(tmp_path: Path) -> None:
    file = tmp_path / "kfPlans.json"
    with pytest.raises(KneeformerError, match="no such plan; make it with kf_plan_and_preprocess"):
        read_plan(file)
    file.write_text('{"configurations": {"a": 1, "b": 2, "a": 3}}')
    with pytest.raises(
        KneeformerError, match=r"kfPlans\.json: not valid JSON \('a' occurs twice in one object\)"
    ):
        read_plan(file)
    file.write_text('{"dataset": ')
    with pytest.raises(KneeformerError, match=r"kfPlans\.json: not valid JSON \(.*line 1 column 13"):
        read_plan(file)


def plan() -> Plan:
    return parse_plan(content(), "test")


def test_set_overrides_one_configuration() -> None:
    assignments = [
        "training.learning_rate=3e-4",
        "network.decoder=linear",
        "training.crop=[4, 16, 16]",
        "preprocessing.thick_axis=null",
        "augmentation.mirror_axes=[]",
    ]
    after = override(plan(), "3d_vit", assignments).configuration("3d_vit")
    assert after.training.learning_rate == 3e-4 and after.training.crop == (4, 16, 16)
    assert after.network.decoder == "linear" and after.preprocessing.thick_axis is None
    assert after.augmentation.mirror_axes == ()
    assert after.training.epochs == 3


def test_set_of_nothing_changes_nothing() -> None:
    assert override(plan(), "3d_vit", []) == plan()


@pytest.mark.parametrize(
    ("assignment", "message"),
    [
        ("training.epochs", "--set training.epochs: write key=value, e.g. training.learning_rate=3e-4"),
        (
            "inference.overlap=1",
            "--set inference.overlap=1: no 'overlap' here; keys: whole_volume_tokens, window_overlap, "
            "mirror_axes",
        ),
        (
            "trainig.epochs=1",
            "--set trainig.epochs=1: no 'trainig' here; keys: task, inherits_from, previous_stage, "
            "preprocessing, training, evidence, network, augmentation, inference, masking, teacher",
        ),
        (
            "training.epochs.more=1",
            "--set training.epochs.more=1: no 'more' here; keys: none, it is a single value",
        ),
        (
            "training.crop=24,128,128",
            "--set: not a valid plan:\n  configurations.3d_vit.training.crop: must be a list, such as "
            "[1, 2, 3] (it is '24,128,128')",
        ),
    ],
)
def test_set_refuses(assignment: str, message: str) -> None:
    with pytest.raises(KneeformerError) as caught:
        override(plan(), "3d_vit", [assignment])
    assert str(caught.value) == message


def test_set_is_checked_like_the_file() -> None:
    with pytest.raises(KneeformerError, match=r"--set: not a valid plan:\n  .*crop \[8, 32, 33\]"):
        override(plan(), "3d_vit", ["training.crop=[8,32,33]"])


MASKED = {"kind": "slab", "ratio": 0.6, "target": "normalised", "filler_width": 48, "filler_depth": 1}


def staged() -> dict[str, Any]:
    """The content with pre-training before 3d_vit, and so before what inherits from it."""
    edited = changed("configurations.3d_vit.previous_stage", "3d_mae")
    edited["configurations"]["3d_vit"]["training"]["fine_tuning"] = {"learning_rate": 0.0003}
    edited["configurations"]["3d_mae"] = {
        "task": "pretraining",
        "inherits_from": "3d_vit",
        "previous_stage": None,
        "training": {"fine_tuning": None},
        "masking": MASKED,
    }
    return edited


def test_stages_and_masking_round_trip() -> None:
    plan = parse_plan(staged(), "test")
    assert parse_plan(json.loads(plan.to_text()), "test") == plan
    found = {name: (c.previous_stage, c.masking) for name, c in plan.configurations.items()}
    masking = found["3d_mae"][1]
    assert masking is not None and masking.model_dump() == MASKED
    assert found == {"3d_vit": ("3d_mae", None), "3d_vit_linear": ("3d_mae", None), "3d_mae": (None, masking)}
    tuning = {name: c.training.fine_tuning for name, c in plan.configurations.items()}
    assert tuning["3d_mae"] is None and tuning["3d_vit"] == tuning["3d_vit_linear"] is not None


def test_pretraining_is_written_as_what_differs() -> None:
    written = json.loads(parse_plan(staged(), "test").to_text())["configurations"]
    assert written["3d_mae"] == staged()["configurations"]["3d_mae"]


def test_what_inherits_from_pretraining_may_have_no_masking() -> None:
    edited = staged()
    edited["configurations"]["child"] = {"inherits_from": "3d_mae", "task": "segmentation", "masking": None}
    edited["configurations"]["other"] = {"inherits_from": "3d_mae", "masking": {"ratio": 0.9}}
    plan = parse_plan(edited, "test")
    other = plan.configuration("other").masking
    assert plan.configuration("child").masking is None
    assert other is not None and other.model_dump() == {**MASKED, "ratio": 0.9}
    assert parse_plan(json.loads(plan.to_text()), "test") == plan


def test_masking_and_fine_tuning_have_defaults() -> None:
    edited = staged()
    edited["configurations"]["3d_mae"]["masking"] = {}
    plan = parse_plan(edited, "test")
    masking, tuning = plan.configuration("3d_mae").masking, plan.configuration("3d_vit").training.fine_tuning
    assert masking is not None
    assert (masking.kind, masking.ratio, masking.target) == ("token", 0.75, "intensity")
    assert masking.filler_width % 6 == 0
    assert tuning is not None and (tuning.frozen_steps, tuning.warmup_steps) == (100, 100)


@pytest.mark.parametrize(
    ("name", "stage", "fault"),
    [
        ("3d_vit", "2d_mae", "  plan: 3d_vit.previous_stage '2d_mae' is none of 3d_vit_linear, 3d_mae"),
        ("3d_vit", "3d_vit", "  plan: 3d_vit.previous_stage '3d_vit' is none of 3d_vit_linear, 3d_mae"),
        ("3d_mae", "3d_mae", "  plan: 3d_mae.previous_stage '3d_mae' is none of 3d_vit, 3d_vit_linear"),
    ],
)
def test_the_previous_stage_is_another_configuration_of_the_plan(name: str, stage: str, fault: str) -> None:
    edited = staged()
    edited["configurations"][name]["previous_stage"] = stage
    assert fault in refusal(edited).splitlines()


def test_the_stage_before_ones_parent_does_not_come_before_itself() -> None:
    """A person who writes the stage into 3d_vit need not know that the stage inherits from it."""
    edited = staged()
    del edited["configurations"]["3d_mae"]["previous_stage"]
    plan = parse_plan(edited, "test")
    assert plan == parse_plan(staged(), "test")
    assert json.loads(plan.to_text())["configurations"]["3d_mae"]["previous_stage"] is None
    edited["configurations"]["child"] = {"inherits_from": "3d_mae"}
    assert parse_plan(edited, "test").configuration("child").previous_stage is None


def test_the_only_configuration_has_no_stage_before_it() -> None:
    edited = changed("configurations.3d_vit.previous_stage", "3d_mae")
    del edited["configurations"]["3d_vit_linear"]
    assert "3d_vit.previous_stage '3d_mae' is none of (no others)" in refusal(edited)


def stages(**before: str) -> dict[str, Any]:
    """Configurations a, b, c and d, alike but for the previous stage each."""
    edited = content()
    one = edited["configurations"]["3d_vit"]
    edited["configurations"] = {name: {**one, "previous_stage": before.get(name)} for name in "abcd"}
    return edited


@pytest.mark.parametrize(
    ("before", "fault"),
    [
        ({"a": "b", "b": "a"}, "  plan: a.previous_stage 'b' comes after a itself"),
        ({"a": "b", "b": "c", "c": "a"}, "  plan: a.previous_stage 'b' comes after a itself"),
        ({"a": "b", "b": "c", "c": "d", "d": "b"}, "  plan: b.previous_stage 'c' comes after b itself"),
        ({"c": "c"}, "  plan: c.previous_stage 'c' is none of a, b, d"),
    ],
)
def test_stages_that_go_round_in_a_circle_are_refused(before: dict[str, str], fault: str) -> None:
    assert refusal(stages(**before)).splitlines() == ["kfPlans.json: not a valid plan:", fault]


def test_a_stage_may_have_a_stage_before_it_and_come_before_several() -> None:
    plan = parse_plan(stages(a="b", b="c", d="b"), "test")
    assert [c.previous_stage for c in plan.configurations.values()] == ["b", "c", None, "b"]


def test_a_circle_through_inheritance_is_refused_too() -> None:
    edited = staged()
    edited["configurations"]["3d_mae"]["previous_stage"] = "3d_vit_linear"  # which inherits 3d_mae before it
    assert "3d_vit_linear.previous_stage '3d_mae' comes after 3d_vit_linear itself" in refusal(edited)


def test_set_cannot_make_a_circle() -> None:
    plan = parse_plan(staged(), "test")
    with pytest.raises(KneeformerError, match="--set: not a valid plan"):
        override(plan, "3d_mae", ["previous_stage=3d_vit"])


def test_one_configuration_alone_has_no_stage_before_it() -> None:
    for name in ("3d_vit", "3d_vit_linear", "3d_mae"):
        whole = parse_plan(staged(), "test")
        alone = whole.with_only(name)
        assert alone.configuration(name).previous_stage is None
        assert alone.configuration(name).masking == whole.configuration(name).masking
        assert alone.configuration(name).training == whole.configuration(name).training
        assert parse_plan(json.loads(alone.to_text()), "test") == alone


@pytest.mark.parametrize(("width", "offered"), [(1, 6), (64, 66), (100, 102)])
def test_the_width_of_the_filler_holds_three_rotary_axes(width: int, offered: int) -> None:
    edited = staged()
    edited["configurations"]["3d_mae"]["masking"] = {"filler_width": width}
    place = "  configurations.3d_mae.masking.filler_width: "
    fault = f"{place}{width} is not a multiple of 6; {offered} is (it is {width})"
    assert fault in refusal(edited).splitlines()
    edited["configurations"]["3d_mae"]["masking"] = {"filler_width": offered}
    assert parse_plan(edited, "test")


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("ratio", 0),
        ("ratio", 1),
        ("kind", "voxel"),
        ("target", "edges"),
        ("filler_depth", 0),
        ("decoder_depth", 2),
        ("share", 0.5),
    ],
)
def test_masking_that_cannot_be_is_refused(key: str, value: Any) -> None:
    edited = staged()
    edited["configurations"]["3d_mae"]["masking"] = {key: value}
    assert f"  configurations.3d_mae.masking.{key}: " in refusal(edited)


def test_set_reaches_masking_and_fine_tuning() -> None:
    plan = parse_plan(staged(), "test")
    masking = override(plan, "3d_mae", ["masking.ratio=0.5"]).configuration("3d_mae").masking
    assert masking is not None and masking.model_dump() == {**MASKED, "ratio": 0.5}
    masking = override(plan, "3d_mae", ["masking={}"]).configuration("3d_mae").masking
    assert masking is not None and masking.kind == "token"
    tuning = override(plan, "3d_vit", ["training.fine_tuning.frozen_steps=0"]).configuration("3d_vit")
    assert tuning.training.fine_tuning is not None and tuning.training.fine_tuning.frozen_steps == 0
    without = override(plan, "3d_vit", ["training.fine_tuning=null", "previous_stage=null"])
    assert without.configuration("3d_vit").training.fine_tuning is None
    assert without.configuration("3d_vit").previous_stage is None
    assert without.configuration("3d_vit_linear") == plan.configuration("3d_vit_linear")
