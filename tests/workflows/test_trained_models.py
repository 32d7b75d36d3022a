"""The choice of a trained model by what is given and what is there."""

from pathlib import Path

import pytest
from prepared import plan

from kneeformer.data.files import write_text
from kneeformer.errors import KneeformerError
from kneeformer.paths import Folders
from kneeformer.workflows.trained_models import (
    TrainedModel,
    choose_model,
    is_model_folder,
    trained_models,
)


def model(name: str, task: str = "segmentation") -> TrainedModel:
    """As "1/kfPlans__3d_vit"."""
    number, folder = name.split("/")
    path = Path(f"Dataset00{number}_Knee") / folder
    return TrainedModel(path, folder.partition("__")[2], task, ("fold_0",))


KNEE, LINEAR, PAPER = model("1/kfPlans__3d_vit"), model("1/kfPlans__3d_linear"), model("1/paperPlans__3d_vit")
BONE, FINDER = model("2/kfPlans__3d_gp", "completion"), model("2/kfPlans__3d_segmentation")


def test_trained_configurations_that_predict_are_found(tmp_path: Path) -> None:
    for name, configuration in (("3d_vit", "3d_vit"), ("3d_mae", "3d_mae"), ("3d_other", "3d_vit")):
        fold = tmp_path / "Dataset001_Knee" / f"kfPlans__{name}" / "fold_0"
        one = plan().model_copy(
            update={"configurations": {configuration: plan().configuration(configuration)}}
        )
        write_text(fold / "plan.json", one.model_dump_json())
        if name != "3d_other":  # begun, not trained
            (fold / "checkpoint_final.pt").touch()
    (found,) = trained_models(tmp_path)
    assert (found.dataset, found.plans, found.configuration) == ("Dataset001_Knee", "kfPlans", "3d_vit")
    assert found.folds == ("fold_0",) and is_model_folder(found.folder) and not is_model_folder(tmp_path)


@pytest.mark.parametrize(
    ("folder", "plans", "configuration"),
    [
        ("kfPlans__3d_vit", "kfPlans", "3d_vit"),
        ("with__lines and spaces__3d_vit", "with__lines and spaces", "3d_vit"),
        ("kfPlans__3d_vit__renamed", "kfPlans", "3d_vit__renamed"),
    ],
)
def test_names_of_plan_and_configuration_lead_to_the_folder(
    tmp_path: Path, folder: str, plans: str, configuration: str
) -> None:
    fold = tmp_path / "Dataset001_Knee" / folder / "fold_0"
    write_text(fold / "plan.json", plan().with_only("3d_vit").to_text())
    (fold / "checkpoint_final.pt").touch()
    (found,) = trained_models(tmp_path)
    assert (found.plans, found.configuration) == (plans, configuration)
    assert choose_model([found], False, "Dataset001_Knee", configuration, plans) is found
    assert Folders(tmp_path, tmp_path, tmp_path).model(found.dataset, configuration, plans) == found.folder


def test_one_model_needs_no_name() -> None:
    assert choose_model([KNEE], masks=False) is KNEE
    assert choose_model([BONE], masks=True) is BONE


def test_masks_tell_completion_from_the_segmentation_beside_it() -> None:
    assert choose_model([KNEE, BONE, FINDER], True) is BONE
    assert choose_model([BONE, FINDER], False) is FINDER


def test_of_one_dataset_the_usual_plan_and_configuration_come_first() -> None:
    assert choose_model([KNEE, LINEAR, PAPER], False) is KNEE
    assert choose_model([KNEE, PAPER], False, plans="paperPlans") is PAPER
    assert choose_model([KNEE, LINEAR, FINDER], False, "Dataset001_Knee", "3d_linear") is LINEAR


@pytest.mark.parametrize(
    ("models", "masks", "said"),
    [
        ([], False, "no model is trained"),
        (
            [BONE],
            False,
            "require masks: give their folder with -m; there are:\n  -d Dataset002_Knee",
        ),
        ([KNEE], True, "no trained model uses any; there are:\n  -d Dataset001_Knee -c 3d_vit"),
        (
            [KNEE, FINDER],
            False,
            "several models are trained; name one:\n  -d Dataset001_Knee -c 3d_vit",
        ),
        ([LINEAR, model("1/kfPlans__3d_unet")], False, "name one:\n  -d Dataset001_Knee -c 3d_linear"),
        ([PAPER, FINDER], False, "-d Dataset001_Knee -c 3d_vit -p paperPlans  (segmentation; fold_0)"),
    ],
)
def test_what_there_is_is_listed(models: list[TrainedModel], masks: bool, said: str) -> None:
    with pytest.raises(KneeformerError) as told:
        choose_model(models, masks)
    assert said in str(told.value)


def test_a_name_that_is_not_trained_is_said() -> None:
    with pytest.raises(KneeformerError, match="no such model is trained; there are:\n  -d Dataset001_Knee"):
        choose_model([KNEE], False, "Dataset009_Hip")
