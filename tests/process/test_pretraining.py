"""Pre-training by the commands a user types: what it leaves, what takes its weights over, what goes on."""

import json
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
import torch
from matplotlib.image import imread
from workplace import NAME, SHAPE, SPACING_MM, Workplace, log_lines, losses, read_json

from kneeformer.phantoms.knee import write_phantom_dataset

BARE = "Dataset002_Bare"
FIRST_KERNEL = "stem.stages.0.0.convolution.weight"
METHODS = ["network", "linear interpolation", "mean image"]
SHORT = {
    "epochs": 1,
    "steps_per_epoch": 4,
    "warmup_steps": 2,
    "validation_crops": 2,
    "fine_tuning": {"learning_rate": 0.001, "frozen_steps": 2, "warmup_steps": 1},
}


def edit_plan(folder: Path, stage: str | None = "3d_mae") -> None:
    """A network and a schedule of seconds, and a stage before 3d_vit, as a person would write them."""
    file = folder / "kfPlans.json"
    plan = read_json(file)
    for name, configuration in plan["configurations"].items():
        if configuration.get("inherits_from") is None:
            configuration["network"]["depth"] = 1
            configuration["training"] |= SHORT
            configuration["previous_stage"] = None if name == "3d_mae" else stage
    plan["configurations"]["3d_mae"]["training"] |= {"epochs": 2, "fine_tuning": None}
    file.write_text(json.dumps(plan))


def fold_of(place: Workplace, configuration: str, fold: object = 0, dataset: str = NAME) -> Path:
    return place.root / "results" / dataset / f"kfPlans__{configuration}" / f"fold_{fold}"


def run_two_at_a_time(
    place: Workplace, commands: dict[str, tuple[int, tuple[object, ...]]]
) -> dict[str, str]:
    """What commands said, by name; each is given with its exit status."""
    with ThreadPoolExecutor(2) as pool:
        said = pool.map(lambda c: place.run(*c[1], code=c[0]), commands.values())
        return dict(zip(commands, said, strict=True))


def weights_of(file: Path) -> dict[str, torch.Tensor]:
    network: dict[str, torch.Tensor] = torch.load(file, weights_only=True)["network"]
    return network


def taken(fold: Path) -> dict[str, Any]:
    """What run.json says of the weights that a training began with."""
    pretrained: dict[str, Any] = read_json(fold / "run.json")["pretrained"]
    return pretrained


@pytest.fixture(scope="module")
def staged(planned: Workplace, tmp_path_factory: pytest.TempPathFactory) -> Workplace:
    """Planned and prepared, 3d_mae before 3d_vit, six labelled subjects; a second dataset without labels."""
    place = planned.copy(tmp_path_factory.mktemp("staged") / "place")
    file = place.raw / "dataset.json"
    file.write_text(json.dumps({**read_json(file), "subjects": {}}))
    bare = place.raw.parent / BARE
    write_phantom_dataset(bare, 0, seed=2, unlabelled=2, test=0, shape=SHAPE, spacing_mm=SPACING_MM)
    edit_plan(place.preprocessed)
    return place


@pytest.fixture(scope="module")
def pretrained(staged: Workplace, tmp_path_factory: pytest.TempPathFactory) -> tuple[Workplace, str]:
    """Fold 0 of 3d_vit and of its previous stage, trained by one command; what that said."""
    place = staged.copy(tmp_path_factory.mktemp("pretrained") / "place")
    return place, place.run("kf_train", 1, "3d_vit", "fold0")


@pytest.fixture(scope="module")
def after(pretrained: tuple[Workplace, str]) -> tuple[Workplace, dict[str, str]]:
    """Commands in that place that do not touch each other; what each said."""
    place, _ = pretrained
    mae = fold_of(place, "3d_mae")
    (mae / "validation" / "masked_voxel_error.json").unlink()
    network = weights_of(mae / "checkpoint_final.pt")
    network[FIRST_KERNEL] = network[FIRST_KERNEL].repeat(1, 2, 1, 1, 1)  # as if of images of two channels
    torch.save({"network": network}, place.root / "mine.pt")
    held = ("--set", "training.fine_tuning.learning_rate=1e-20")
    images, out = place.raw / "imagesTs", place.root / "out"
    commands: dict[str, tuple[int, tuple[object, ...]]] = {
        "linear": (0, ("kf_train", 1, "3d_vit_linear", 0)),
        "random": (0, ("kf_train", 1, "3d_vit", 1, "--no_pretraining")),
        "file": (0, ("kf_train", 1, "3d_vit", 2, "-pretrained_weights", "mine.pt", *held)),
        "review": (0, ("kf_train", 1, "3d_mae", 0, "--val")),
        "borrowed": (0, ("kf_train", 1, "3d_mae", 2, "--pretrain_from", 2, "--epochs", 1)),
        "refused": (1, ("kf_train", 1, "3d_vit", 0, "--pretrain_from", 2, "--overwrite")),
        "predicted": (1, ("kf_predict", "-i", images, "-o", out, "-d", 1, "-c", "3d_mae")),
    }
    return place, run_two_at_a_time(place, commands)


def test_a_missing_stage_is_trained_first_and_it_is_said(pretrained: tuple[Workplace, str]) -> None:
    place, said = pretrained
    mae, vit = fold_of(place, "3d_mae"), fold_of(place, "3d_vit")
    assert "3d_vit comes after 3d_mae, which is trained first" in said
    assert said.index("trained first") < said.index("tensors loaded")
    assert len(losses(mae)) == 8 and len(losses(vit)) == 4
    assert (vit / "validation" / "summary.json").is_file()
    assert read_json(mae / "run.json")["pretrained"] is None


def test_run_json_tells_what_was_taken_over(pretrained: tuple[Workplace, str]) -> None:
    place, said = pretrained
    outcome = taken(fold_of(place, "3d_vit"))
    assert outcome["file"] == str(fold_of(place, "3d_mae") / "checkpoint_final.pt")
    assert {name.split(".")[0] for name in outcome["loaded"]} == {"stem", "encoder", "decoder"}
    assert {name.rpartition(".")[0] for name in outcome["new"]} == {"decoder.head"}
    assert not outcome["resized"]
    counts = f"{len(outcome['loaded'])} tensors loaded, 0 resized, {len(outcome['unused'])} unused;"
    assert counts in said
    source, network = (
        weights_of(fold_of(place, name) / "checkpoint_final.pt") for name in ("3d_mae", "3d_vit")
    )
    assert {*outcome["loaded"], *outcome["new"]} == set(network)
    assert {*outcome["loaded"], *outcome["unused"]} == set(source)


def test_pretraining_leaves_pictures_figures_and_a_table(after: tuple[Workplace, dict[str, str]]) -> None:
    place, said = after
    fold = fold_of(place, "3d_mae")
    assert {"plan.json", "run.json", "training_log.jsonl", "progress.png"} <= {p.name for p in fold.iterdir()}
    validated = [line for line in log_lines(fold) if "validation_loss" in line]
    assert len(validated) == 2
    assert all(0 < line["scores"]["SSIM"] < 1 and 0 < line["figures"]["PSNR"] < 60 for line in validated)
    held_out = read_json(place.preprocessed / "splits_final.json")[0]["val"]
    pictures = {p.stem: p for p in (fold / "validation").glob("*.png")}
    assert set(pictures) == set(held_out)
    for picture in pictures.values():
        pixels = imread(picture)
        blue = (abs(255 * pixels[..., :3] - (0x24, 0x47, 0x6B)) < 1).all(-1)
        middle = blue[:, pixels.shape[1] // 3 : 2 * pixels.shape[1] // 3]
        assert middle.mean() > 0.3 and middle.sum() > 0.99 * blue.sum()
    scores = read_json(fold / "validation" / "masked_voxel_error.json")
    assert set(scores) == set(held_out)
    for case in scores.values():
        assert list(case) == METHODS
        assert all(0 < m["psnr"] < 60 and -1 < m["ssim"] < 1 for m in case.values())
    table = said["review"]
    assert all(f"  {method}" in table for method in METHODS) and "PSNR" in table and "SSIM" in table


def test_what_is_trained_is_taken_and_not_trained_again(after: tuple[Workplace, dict[str, str]]) -> None:
    place, said = after
    mae, linear = fold_of(place, "3d_mae"), fold_of(place, "3d_vit_linear")
    assert f"Weights of 3d_vit_linear come from {mae}" in said["linear"]
    assert "trained first" not in said["linear"] and len(losses(mae)) == 8
    assert {name.split(".")[0] for name in taken(linear)["loaded"]} == {"stem", "encoder"}
    assert {name.split(".")[0] for name in taken(linear)["new"]} == {"decoder"}


def test_no_pretraining_starts_from_random_initialisation(after: tuple[Workplace, dict[str, str]]) -> None:
    place, said = after
    assert "3d_mae" not in said["random"] and "loaded" not in said["random"]
    assert taken(fold_of(place, "3d_vit", 1)) is None
    assert not fold_of(place, "3d_mae", 1).exists()


def test_weights_of_a_file_are_taken_resized_or_left(after: tuple[Workplace, dict[str, str]]) -> None:
    place, said = after
    outcome, fold = taken(fold_of(place, "3d_vit", 2)), fold_of(place, "3d_vit", 2)
    loaded, left, new = (len(outcome[key]) for key in ("loaded", "unused", "new"))
    counts = f"mine.pt: {loaded} tensors loaded, 1 resized, {left} unused; {new} randomly initialised"
    assert f"{counts} (decoder)" in said["file"]
    assert outcome["file"] == "mine.pt" and outcome["resized"] == [FIRST_KERNEL]
    assert "trained first" not in said["file"]

    network, mine = weights_of(fold / "checkpoint_final.pt"), weights_of(place.root / "mine.pt")
    assert torch.allclose(network[FIRST_KERNEL], mine[FIRST_KERNEL].sum(1, keepdim=True))
    shared = {name for name in network if name in mine} - {FIRST_KERNEL}
    same = {name for name in shared if torch.allclose(network[name], mine[name], rtol=0, atol=1e-12)}
    held_back = {name for name in network if not name.startswith("decoder.")} - {FIRST_KERNEL}
    assert same == held_back, "they learn at a rate of nothing, while the decoder learns"


def test_a_file_that_does_not_serve_or_a_wrong_setting_is_an_error_before_all_work(
    staged: Workplace, tmp_path: Path
) -> None:
    place = staged.copy(tmp_path / "place")
    text, foreign = (place.root / name for name in ("notes.pt", "foreign.pt"))
    text.write_text("my notes")
    torch.save({"network": {"layer1.weight": torch.zeros(3)}}, foreign)
    commands: dict[str, tuple[int, tuple[object, ...]]] = {
        "text": (1, ("kf_train", 1, "3d_vit", 0, "-pretrained_weights", text)),
        "foreign": (1, ("kf_train", 1, "3d_mae", 1, "-pretrained_weights", foreign)),
        "setting": (1, ("kf_train", 1, "3d_vit", 2, "--set", "training.speed=1")),
        "ignored": (1, ("kf_train", 1, "3d_vit", 2, "--pretrain_from", 2, "--no_pretraining")),
    }
    said = run_two_at_a_time(place, commands)
    assert f"error: {text}: not a readable checkpoint" in said["text"]
    assert f"error: {foreign}: none of its tensors fits this network; it holds layer1" in said["foreign"]
    assert "no 'speed' here" in said["setting"] and "trained first" not in said["setting"]
    assert "--pretrain_from and --no_pretraining exclude each other" in said["ignored"]
    assert not list((place.root / "results").rglob("*.json")), "nothing is begun, no previous stage either"


def test_images_of_another_dataset_are_learnt_from_where_asked(
    after: tuple[Workplace, dict[str, str]],
) -> None:
    place, said = after
    assert f"Preprocessing 3d_vit__{BARE}" in said["borrowed"]
    assert read_json(fold_of(place, "3d_mae", 2) / "run.json")["pretrain_from"] == BARE
    assert len(list((place.preprocessed / f"3d_vit__{BARE}").glob("*.b2nd"))) == 2
    assert read_json(fold_of(place, "3d_mae") / "run.json")["pretrain_from"] is None
    assert f"trained without {BARE}" in said["refused"]
    assert f"kf_train {NAME} 3d_mae fold_0 -p kfPlans --overwrite --pretrain_from {BARE}" in said["refused"]
    assert (fold_of(place, "3d_vit") / "checkpoint_final.pt").is_file(), "a refused command takes nothing"


def test_images_without_labels_alone_are_a_dataset(staged: Workplace, tmp_path: Path) -> None:
    place = staged.copy(tmp_path / "place")
    said = place.run("kf_plan_and_preprocess", "-d", 2, "-np", 1)
    assert "recommended: 3d_mae" in said and "measured" in said and "2 cases made" in said
    prepared = place.root / "preprocessed" / BARE
    assert list(read_json(prepared / "kfPlans.json")["configurations"]) == ["3d_mae"]
    edit_plan(prepared)
    said = place.run("kf_train", 2, "3d_mae", "all")
    fold = fold_of(place, "3d_mae", "all", BARE)
    assert "PSNR" in said and str(fold) in said
    assert (fold / "checkpoint_final.pt").is_file()
    assert len(list((fold / "validation").glob("*.png"))) == 2


def test_it_predicts_nothing_itself(after: tuple[Workplace, dict[str, str]]) -> None:
    place, said = after
    assert "predicts nothing itself" in said["predicted"]
    assert not (place.root / "out").exists()


def test_killed_pretraining_goes_on_by_the_command_that_began_it(staged: Workplace, tmp_path: Path) -> None:
    place = staged.copy(tmp_path / "place")
    mae, vit = fold_of(place, "3d_mae"), fold_of(place, "3d_vit")
    train = ("kf_train", 1, "3d_vit", 0, "--epochs", 4, "--seed", 3)
    for lines in (1, 7):  # before the first checkpoint, and after it
        place.kill_when(lambda n=lines: len(log_lines(mae)) >= n, *train)
        assert not (mae / "checkpoint_final.pt").exists() and not (vit / "run.json").exists()
    said = place.run(*train, "--c")
    assert "3d_vit comes after 3d_mae, which is trained first" in said
    assert len(losses(mae)) == len(losses(vit)) == 16
    assert read_json(mae / "run.json")["seed"] == read_json(vit / "run.json")["seed"] == 3
    assert taken(vit)["file"] == str(mae / "checkpoint_final.pt")


def test_the_study_compares_and_trains_nothing_twice(staged: Workplace, tmp_path: Path) -> None:
    place = staged.copy(tmp_path / "place")
    command = ("kf_label_study", 1, "--arms", "A", "D", "--labels", 1, "--seeds", 0, "--epochs", 1)
    said = place.run(*command, "--pretraining_epochs", 1)
    home = place.root / "results" / NAME / "label_study" / "1_epochs"
    assert str(home) in said
    assert (home / "table.md").read_text() in said
    header, scratch, pretrained = [line.split(",") for line in (home / "table.csv").read_text().splitlines()]
    assert header[:4] == ["labels", "arm", "name", "seeds"] and "gain_high" in header
    assert scratch[:4] == ["1", "A", "from scratch", "1"]
    for row in (scratch, pretrained):
        mean, low, high = map(float, row[4:7])
        assert 0 <= low <= mean <= high <= 1, "two subjects validate: an interval is known"
    assert scratch[7] == ""
    assert float(pretrained[7]) == pytest.approx(
        100 * (float(pretrained[4]) - float(scratch[4])),
        abs=1e-3,  # both are written with six digits
    )
    assert imread(home / "curves.png").shape[:2] == (504, 780)

    runs = {str(p.parent.relative_to(home)): read_json(p) for p in home.rglob("run.json")}
    assert len(runs) == 3
    assert sorted(r["subjects"] or 0 for r in runs.values()) == [0, 1, 1]
    checkpoint = next(home.rglob("kfPlans__3d_mae/fold_0")) / "checkpoint_final.pt"
    started = [r["pretrained"] and r["pretrained"]["file"] for r in runs.values()]
    assert started.count(None) == 2 and started.count(str(checkpoint)) == 1
    assert not [*fold_of(place, "3d_vit").glob("checkpoint_*")], "the study's trainings are its own"

    before = {p: p.stat().st_mtime_ns for p in home.rglob("checkpoint_*.pt")}
    again = place.run(*command, "--pretraining_epochs", 1)
    assert (home / "table.md").read_text() in again and "Training" not in again
    assert {p: p.stat().st_mtime_ns for p in home.rglob("checkpoint_*.pt")} == before

    other = place.run(*command, "--pretraining_epochs", 2, code=1)
    assert f"{checkpoint.parent}: training.epochs was 1, is now 2" in other
    assert other.count(f": began with earlier weights of {checkpoint.parent}") == 1
    assert {p: p.stat().st_mtime_ns for p in home.rglob("checkpoint_*.pt")} == before
