"""The three folders, and the names of datasets and folds."""

import os
from pathlib import Path

import pytest

from kneeformer.errors import KneeformerError
from kneeformer.paths import Folders, fold_name


@pytest.fixture
def folders(tmp_path: Path) -> Folders:
    for dataset in ("Dataset001_Knee", "Dataset012_Hip", "notes"):
        (tmp_path / "raw" / dataset).mkdir(parents=True)
    (tmp_path / "raw" / "Dataset013_File").touch()
    return Folders(tmp_path / "raw", tmp_path / "preprocessed", tmp_path / "results")


def test_from_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    names = ("raw", "preprocessed", "results")
    for name in names:
        monkeypatch.setenv(f"kf_{name}", f"~/{name}")
    assert Folders.from_environment() == Folders(*(Path.home() / name for name in names))


def test_a_missing_variable_shows_the_line_to_type(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("kf_raw", "/data")
    monkeypatch.delenv("kf_preprocessed", raising=False)
    monkeypatch.setenv("kf_results", "")
    nothing = Path(os.devnull)
    assert Folders.from_environment("raw") == Folders(Path("/data"), nothing, nothing)
    with pytest.raises(KneeformerError) as caught:
        Folders.from_environment()
    assert str(caught.value) == (
        "kf_preprocessed, kf_results not set: kneeformer does not know where its "
        'data lives. Choose folders and type:\n    export kf_preprocessed="$HOME/kneeformer/preprocessed"\n'
        '    export kf_results="$HOME/kneeformer/results"'
    )


@pytest.mark.parametrize("dataset", [1, "1", "001", "Dataset001_Knee"])
def test_resolve(folders: Folders, dataset: int | str) -> None:
    assert folders.resolve(dataset) == "Dataset001_Knee"


def test_a_dataset_that_is_only_preprocessed_is_known(folders: Folders) -> None:
    (folders.preprocessed / "Dataset020_Ankle").mkdir(parents=True)
    assert folders.resolve(20) == "Dataset020_Ankle"


def test_duplicate_numbers(folders: Folders) -> None:
    (folders.results / "Dataset001_Knees").mkdir(parents=True)
    with pytest.raises(KneeformerError) as caught:
        folders.resolve(1)
    assert str(caught.value) == (
        "dataset number 1 is used by Dataset001_Knee and Dataset001_Knees: rename one of the folders in "
        f"{folders.raw}, {folders.results}, or give the full name"
    )
    assert folders.resolve("Dataset001_Knees") == "Dataset001_Knees"


@pytest.mark.parametrize("dataset", [13, 100, "Knee", "notes"])
def test_unknown_dataset(folders: Folders, dataset: int | str) -> None:
    with pytest.raises(KneeformerError) as caught:
        folders.resolve(dataset)
    assert str(caught.value) == (
        f"no dataset '{dataset}' in {folders.raw}. Folders there must be called Dataset001_Name; "
        "known: Dataset001_Knee, Dataset012_Hip"
    )


def test_nothing_known(tmp_path: Path) -> None:
    with pytest.raises(KneeformerError, match="known: none"):
        Folders(tmp_path / "a", tmp_path / "b", tmp_path / "c").resolve(1)


def test_places(folders: Folders) -> None:
    assert folders.plan_file("Dataset001_Knee") == folders.preprocessed / "Dataset001_Knee/kfPlans.json"
    model = folders.model("Dataset001_Knee", "3d_vit", "mine")
    assert model == folders.results / "Dataset001_Knee/mine__3d_vit"


@pytest.mark.parametrize(
    ("given", "name"),
    [
        (0, "fold_0"),
        ("0", "fold_0"),
        ("fold0", "fold_0"),
        ("fold_3", "fold_3"),
        ("all", "fold_all"),
        ("fold_all", "fold_all"),
    ],
)
def test_fold_name(given: int | str, name: str) -> None:
    assert fold_name(given) == name


@pytest.mark.parametrize("given", ["", "-1", "first", "fold", "0 1", -1])
def test_no_fold_name(given: int | str) -> None:
    with pytest.raises(KneeformerError, match="is not a fold: give 0, fold0 or all"):
        fold_name(given)
