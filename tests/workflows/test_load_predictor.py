"""The model that the options of kf_predict name: a file, a folder, or what was chosen."""

import shutil
from pathlib import Path

import numpy as np
import pytest
from prepared import NAME, SHAPE

from kneeformer.cli.load_predictor import loaded_predictor
from kneeformer.cli.predict import predict_parser
from kneeformer.data.files import write_text
from kneeformer.errors import KneeformerError
from kneeformer.studies.chosen_model import BestConfiguration
from kneeformer.workflows.predict import Predictor

IMAGE = np.random.default_rng(0).normal(size=SHAPE).astype(np.float32)


def named(*words: object) -> Predictor:
    fixed = ["-i", "in", "-o", "out", "-device", "cpu"]
    with loaded_predictor(predict_parser().parse_args([*fixed, *map(str, words)])) as predictor:
        return predictor


def test_a_file_or_folder_of_a_model_needs_no_variable(
    shared: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    for variable in ("kf_raw", "kf_preprocessed", "kf_results"):
        monkeypatch.delenv(variable, raising=False)
    folder, file = shared
    one, other = named("-d", folder), named("-d", file)
    assert len(one.networks) == len(other.networks) == 2  # both folds
    for probabilities in (False, True):
        np.testing.assert_array_equal(
            one.predict(IMAGE, (1.0, 1.0, 1.0), probabilities),
            other.predict(IMAGE, (1.0, 1.0, 1.0), probabilities),
        )
    assert len(named("-d", file, "-f", 1).networks) == 1
    assert len(named("-d", file, "-f", 0, 1, "fold_1").networks) == 2
    for words in (("-c", "3d_vit"), ("-p", "kfPlans"), ("-chk", "best")):
        with pytest.raises(KneeformerError, match="the file of one model; omit -c, -p and -chk"):
            named("-d", file, *words)


def test_the_folds_that_predict_are_printed(
    shared: tuple[Path, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    model = tmp_path / "kfPlans__3d_vit"
    shutil.copytree(shared[0], model)
    named("-d", model)
    assert capsys.readouterr().out == "folds of kfPlans__3d_vit: fold_0, fold_1\n"
    (model / "fold_1" / "checkpoint_final.pt").unlink()  # as while it is trained
    assert len(named("-d", model).networks) == 1
    assert capsys.readouterr().out == "folds of kfPlans__3d_vit: fold_0, without fold_1\n"
    named("-d", model, "-f", 0)
    assert capsys.readouterr().out == ""


def test_a_trained_model_needs_its_own_folder_alone(
    shared: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    for variable in ("kf_raw", "kf_preprocessed"):
        monkeypatch.delenv(variable, raising=False)
    results = shared[0].parent.parent
    monkeypatch.setenv("kf_results", str(results))
    for words in ((), ("-d", 1), ("-d", NAME, "-c", "3d_vit", "-f", 1)):
        assert named(*words).plan.dataset.name == NAME
    with pytest.raises(KneeformerError, match=f"no dataset '2' in {results}. .* known: {NAME}"):
        named("-d", 2)


def test_the_best_of_several_plans_is_that_of_its_own_plan(
    shared: tuple[Path, Path],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    monkeypatch.setenv("kf_results", str(tmp_path))
    shutil.copytree(shared[0], tmp_path / NAME / "myPlans__3d_vit")
    chosen = BestConfiguration(
        dataset=NAME,
        plans=("kfPlans", "myPlans"),
        score="Dice",
        lower_is_better=False,
        folds=(0,),
        cases=2,
        ranking=(),
        chosen={"myPlans__3d_vit": (1,)},
        post_processing=(),
        left_out=(),
        to_compare_more=(),
        prediction="",
    )
    write_text(tmp_path / NAME / "best_configuration" / "best_configuration.json", chosen.model_dump_json())
    of_fold = Predictor.from_model_folder(shared[0], (1,), device="cpu")
    np.testing.assert_array_equal(
        named("--best").predict(IMAGE, (1.0, 1.0, 1.0), True), of_fold.predict(IMAGE, (1.0, 1.0, 1.0), True)
    )
    assert caplog.messages == []
    fold = tmp_path / NAME / "myPlans__3d_vit" / "fold_1"
    (fold / "checkpoint_final.pt").touch()
    named("--best")
    (said,) = caplog.messages
    assert f"chosen before {fold} was trained" in said and f"kf_find_best_configuration {NAME}" in said
