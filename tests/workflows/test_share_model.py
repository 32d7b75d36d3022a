"""A model goes out as one file and comes in elsewhere; hostile files are refused and leave nothing."""

import hashlib
import json
import pickle
import stat
import struct
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from prepared import NAME, SHAPE, plan

from kneeformer.config import Evidence, TrainingSettings
from kneeformer.data.files import write_text
from kneeformer.engine.checkpoint import save_checkpoint
from kneeformer.errors import KneeformerError
from kneeformer.metrics.overlap import DICE
from kneeformer.metrics.score_table import Part, ScoreTable, rows_of
from kneeformer.metrics.summary import summarise, write_summary
from kneeformer.shape_models.settings import PriorSettings, RegistrationSettings
from kneeformer.tasks.bone_completion.settings import BoneConfiguration, BoneGridSettings
from kneeformer.tasks.registry import predictive
from kneeformer.workflows.predict import Predictor
from kneeformer.workflows.share_model import export_model, install_model

FOLDER = Path(NAME) / "kfPlans__3d_vit"


def test_an_installed_model_predicts_identical_labels(shared: tuple[Path, Path], tmp_path: Path) -> None:
    model, file = shared
    installed = install_model(file, tmp_path / "another user" / "results")
    assert installed == tmp_path / "another user" / "results" / FOLDER
    image = np.random.default_rng(0).normal(size=SHAPE).astype(np.float32)
    first, second = (Predictor.from_model_folder(m, device="cpu") for m in (model, installed))
    for probabilities in (False, True):
        np.testing.assert_array_equal(
            first.predict(image, (1.0, 1.0, 1.0), probabilities),
            second.predict(image, (1.0, 1.0, 1.0), probabilities),
        )
    assert not (installed / "source.json").exists()
    assert "femur (1)" in (installed / "MODEL_CARD.md").read_text()
    with pytest.raises(KneeformerError, match="this model exists already"):
        install_model(file, tmp_path / "another user" / "results")


@pytest.mark.parametrize(
    ("folder", "name"),
    [
        (f"{NAME}/kfPlans__3d_vit kurz.2", "kfPlans__3d_vit kurz.2"),
        ("backup/kfPlans__3d_vit", "kfPlans__3d_vit"),
        (f"{NAME}/my__plan__3d_vit", "my__plan__3d_vit"),
    ],
)
def test_what_is_exported_can_be_installed(folder: str, name: str, tmp_path: Path) -> None:
    configuration, fold = name.rpartition("__")[2], tmp_path / folder / "fold_0"
    settings = plan().configuration("3d_vit")
    one = plan().model_copy(update={"configurations": {configuration: settings}})
    network = predictive("segmentation").network(one.dataset, settings)
    write_text(fold / "plan.json", one.model_dump_json())
    save_checkpoint(fold / "checkpoint_final.pt", {"network": network.state_dict()})
    export_model(fold.parent, tmp_path / "model.kfm")
    assert install_model(tmp_path / "model.kfm", tmp_path / "there") == tmp_path / "there" / NAME / name


@pytest.mark.parametrize(
    ("checkpoint", "said"),
    [("final", "- fold_0: mean Dice 0.5"), ("best", "checkpoint_best.pt: only final ones are validated")],
)
def test_scores_on_the_card_are_those_of_the_weights_in_the_file(
    checkpoint: str, said: str, tmp_path: Path
) -> None:
    fold, one = tmp_path / FOLDER / "fold_0", plan().with_only("3d_vit")
    network = predictive("segmentation").network(one.dataset, one.configuration("3d_vit"))
    write_text(fold / "plan.json", one.model_dump_json())
    save_checkpoint(fold / f"checkpoint_{checkpoint}.pt", {"network": network.state_dict()})
    scores = ScoreTable(tuple(rows_of("a", Part("femur"), {DICE: 0.5})), {"a": "a"})
    write_summary(summarise(scores), fold / "validation")
    export_model(fold.parent, tmp_path / "model.kfm", checkpoint=checkpoint)
    card = (install_model(tmp_path / "model.kfm", tmp_path / "there") / "MODEL_CARD.md").read_text()
    assert said in card and ("Dice" in card) == (checkpoint == "final")


def completion(root: Path, segmentation: bool) -> Path:
    """The folder of a completion of bones, beside it that of the segmentation that finds the bone."""
    bones = BoneConfiguration(
        task="completion",
        preprocessing=BoneGridSettings(folder="bones", spacing=(8.0, 8.0, 8.0), grid=(8, 8, 8)),
        registration=RegistrationSettings(),
        prior=PriorSettings(kind="pca", components=2),
        training=TrainingSettings(crop=(8, 8, 8), batch_size=1, epochs=0, steps_per_epoch=1, learning_rate=1),
        evidence=Evidence(crop_share_of_volume=1.0, tokens_per_crop=1),
    )
    configurations = {"3d_gp": bones, "3d_segmentation": plan().configuration("3d_vit")}
    whole = plan().model_copy(update={"configurations": configurations})
    for name in ("3d_gp", "3d_segmentation")[: 1 + segmentation]:
        one, fold = whole.with_only(name), root / NAME / f"kfPlans__{name}" / "fold_0"
        network = predictive(configurations[name].task).network(one.dataset, configurations[name])
        write_text(fold / "plan.json", one.model_dump_json())
        save_checkpoint(fold / "checkpoint_final.pt", {"network": network.state_dict()})
    return root / NAME / "kfPlans__3d_gp"


@pytest.mark.parametrize("segmentation", [True, False])
def test_with_a_completion_goes_what_finds_the_bone(segmentation: bool, tmp_path: Path) -> None:
    model, file = completion(tmp_path / "here", segmentation), tmp_path / "model.kfm"
    exported = {"3d_gp": ["fold_0"], "3d_segmentation": ["fold_0"]}
    assert export_model(model, file) == (exported if segmentation else {"3d_gp": ["fold_0"]})
    installed = install_model(file, tmp_path / "there")
    assert installed == tmp_path / "there" / NAME / "kfPlans__3d_gp"
    finder = Predictor.from_model_folder(installed, device="cpu").finder
    assert finder is not None and (finder.refusal() is None) == segmentation
    assert ("3d_segmentation" in (installed / "MODEL_CARD.md").read_text(encoding="utf-8")) == segmentation
    assert len(list(installed.parent.iterdir())) == 1 + segmentation


def test_a_second_model_that_is_there_already_is_kept(tmp_path: Path) -> None:
    model = completion(tmp_path / "here", True)
    export_model(model, tmp_path / "model.kfm")
    there = tmp_path / "there" / NAME / "kfPlans__3d_segmentation"
    there.mkdir(parents=True)
    with pytest.raises(KneeformerError, match="kfPlans__3d_segmentation: this model exists already"):
        install_model(tmp_path / "model.kfm", tmp_path / "there")
    assert list(there.parent.iterdir()) == [there]


def test_a_file_that_is_there_or_is_called_otherwise_is_refused(shared: tuple[Path, Path]) -> None:
    model, file = shared
    with pytest.raises(KneeformerError, match="exists"):
        export_model(model, file)
    with pytest.raises(KneeformerError, match=r"\.kfm"):
        export_model(model, file.with_suffix(".zip"))


Entries = dict[str, bytes]
Change = Callable[[Entries, dict[str, Any]], None]


def changed(file: Path, to: Path, change: Change) -> None:
    """The file with other entries or another manifest; checksums are made right unless they were changed."""
    with zipfile.ZipFile(file) as archive:
        entries = {name: archive.read(name) for name in archive.namelist()}
    manifest = json.loads(entries.pop("manifest.json"))
    before = dict(manifest["checksums"])
    change(entries, manifest)
    if manifest.get("checksums") == before:
        manifest["checksums"] = {name: hashlib.sha256(c).hexdigest() for name, c in entries.items()}
    with zipfile.ZipFile(to, "w") as archive:
        archive.writestr("manifest.json", json.dumps(manifest))
        for name, content in entries.items():
            archive.writestr(name, content)


class Exploit:
    def __reduce__(self) -> tuple[Any, ...]:
        return (Path.touch, (Path("/tmp/kneeformer_was_here"),))


def with_entry(name: str, content: bytes = b"x") -> Change:
    return lambda entries, manifest: entries.__setitem__(name, content)


def with_manifest(**values: Any) -> Change:
    return lambda entries, manifest: manifest.update(values)


def another_plan(entries: Entries, manifest: dict[str, Any]) -> None:
    content = json.loads(entries["3d_vit/fold_1/plan.json"])
    content["dataset"]["labels"] = {"background": 0, "tibia": 1}
    entries["3d_vit/fold_1/plan.json"] = json.dumps(content).encode()


def another_network(entries: Entries, manifest: dict[str, Any]) -> None:
    for fold in ("fold_0", "fold_1"):
        content = json.loads(entries[f"3d_vit/{fold}/plan.json"])
        content["configurations"]["3d_vit"]["network"]["depth"] = 2
        entries[f"3d_vit/{fold}/plan.json"] = json.dumps(content).encode()


def preparatory(entries: Entries, manifest: dict[str, Any]) -> None:
    for fold in ("fold_0", "fold_1"):
        content = json.loads(entries[f"3d_vit/{fold}/plan.json"])
        content["configurations"]["3d_vit"] |= {"task": "pretraining", "masking": {}}
        entries[f"3d_vit/{fold}/plan.json"] = json.dumps(content).encode()


def wrong_checksum(entries: Entries, manifest: dict[str, Any]) -> None:
    manifest["checksums"]["3d_vit/fold_0/weights.safetensors"] = "0" * 64


def not_finite(entries: Entries, manifest: dict[str, Any]) -> None:
    weights = entries["3d_vit/fold_0/weights.safetensors"]
    (length,) = struct.unpack("<Q", weights[:8])
    nan = np.full((len(weights) - 8 - length) // 4, np.nan, "<f4").tobytes()
    entries["3d_vit/fold_0/weights.safetensors"] = weights[: 8 + length] + nan


def renamed(entries: Entries, manifest: dict[str, Any]) -> None:
    manifest["configurations"] = ["3d_other"]
    for name in [name for name in entries if name.startswith("3d_vit/")]:
        entries[name.replace("3d_vit", "3d_other")] = entries.pop(name)


def a_second(entries: Entries, manifest: dict[str, Any]) -> None:
    manifest["configurations"] = ["3d_vit", "3d_more"]
    content = json.loads(entries["3d_vit/fold_0/plan.json"])
    content["configurations"] = {"3d_more": content["configurations"]["3d_vit"]}
    entries["3d_more/fold_0/plan.json"] = json.dumps(content).encode()
    entries["3d_more/fold_0/weights.safetensors"] = entries["3d_vit/fold_0/weights.safetensors"]


def lost(name: str) -> Change:
    def change(entries: Entries, manifest: dict[str, Any]) -> None:
        del entries[name]

    return change


HOSTILE: dict[str, tuple[Change, str]] = {
    "a path upwards": (with_entry("../../evil.py"), "belongs to no model"),
    "an absolute path": (with_entry("/tmp/evil.py"), "belongs to no model"),
    "a path of Windows": (with_entry("fold_0\\..\\evil.py"), "belongs to no model"),
    "a pickle": (
        with_entry("3d_vit/fold_0/checkpoint_final.pt", pickle.dumps(Exploit())),
        "belongs to no model",
    ),
    "a pickle called safetensors": (
        with_entry("3d_vit/fold_0/weights.safetensors", pickle.dumps(Exploit())),
        "not a safetensors file",
    ),
    "code beside it": (with_entry("setup.py", b"import os"), "belongs to no model"),
    "a dataset elsewhere": (with_manifest(dataset="../Dataset001_Knee"), "names a place that is no model's"),
    "a dataset with a path": (with_manifest(dataset="Dataset001_a/../../b"), "names a place"),
    "plans elsewhere": (with_manifest(plans="../kfPlans"), "names a place"),
    "a newer format": (with_manifest(format=2), "its format is 2"),
    "a format that is no number": (with_manifest(format="1"), "manifest.json is damaged"),
    "keys that are unknown": (with_manifest(run="rm -rf /"), "manifest.json is damaged"),
    "a wrong checksum": (wrong_checksum, "has another checksum"),
    "weights of another network": (another_network, "of another network"),
    "weights that are no numbers": (not_finite, "NaN or infinite"),
    "folds of different models": (another_plan, "different plans"),
    "a model that predicts nothing": (preparatory, "predicts nothing itself"),
    "another configuration": (with_manifest(configurations=["3d_other"]), "it holds no fold of 3d_other"),
    "a plan of another configuration": (renamed, "plan.json is not of 3d_other"),
    "a configuration twice": (
        with_manifest(configurations=["3d_vit", "3d_vit"]),
        "names a configuration twice",
    ),
    "a configuration elsewhere": (with_manifest(configurations=["../3d_vit"]), "names a place"),
    "another model beside it": (a_second, "3d_vit does not need 3d_more"),
    "a fold of no configuration": (with_entry("3d_more/fold_0/plan.json"), "belongs to no configuration"),
    "a plan that is none": (with_entry("3d_vit/fold_0/plan.json", b"[" * 100_000), "plan.json"),
    "a fold without weights": (lost("3d_vit/fold_0/weights.safetensors"), "has no weights.safetensors"),
}


@pytest.mark.parametrize("name", HOSTILE)
def test_hostile_files_are_refused(name: str, shared: tuple[Path, Path], tmp_path: Path) -> None:
    change, said = HOSTILE[name]
    changed(shared[1], tmp_path / "hostile.kfm", change)
    refused(tmp_path, said)
    assert not Path("/tmp/kneeformer_was_here").exists()


def refused(folder: Path, said: str) -> None:
    """hostile.kfm is refused with these words, and nothing but it is in the folder then."""
    with pytest.raises(KneeformerError) as told:
        install_model(folder / "hostile.kfm", folder / "results")
    assert said in str(told.value) and "hostile.kfm" in str(told.value)
    assert [path.name for path in folder.rglob("*") if path.is_file()] == ["hostile.kfm"]
    assert not (folder / "results").exists() or not any((folder / "results").iterdir())


def archive_of(file: Path, to: Path, extra: Callable[[zipfile.ZipFile], None]) -> None:
    to.write_bytes(file.read_bytes())
    with zipfile.ZipFile(to, "a") as archive:
        extra(archive)


def link(archive: zipfile.ZipFile) -> None:
    entry = zipfile.ZipInfo("3d_vit/fold_2/plan.json")
    entry.external_attr = (stat.S_IFLNK | 0o777) << 16
    archive.writestr(entry, "/etc/passwd")


def bomb(archive: zipfile.ZipFile) -> None:
    archive.writestr("3d_vit/fold_2/weights.safetensors", bytes(10_000_000), zipfile.ZIP_DEFLATED)


def twice(archive: zipfile.ZipFile) -> None:
    with pytest.warns(UserWarning, match="Duplicate"):
        archive.writestr("3d_vit/fold_0/plan.json", b"{}")


@pytest.mark.parametrize(
    ("extra", "said"), [(link, "is a link"), (bomb, "is compressed"), (twice, "two entries of one name")]
)
def test_links_bombs_and_doubles_are_refused(
    extra: Callable[[zipfile.ZipFile], None], said: str, shared: tuple[Path, Path], tmp_path: Path
) -> None:
    archive_of(shared[1], tmp_path / "hostile.kfm", extra)
    refused(tmp_path, said)


@pytest.mark.parametrize("share", [0.0, 0.3, 0.99])
def test_cut_short(share: float, shared: tuple[Path, Path], tmp_path: Path) -> None:
    content = shared[1].read_bytes()
    (tmp_path / "hostile.kfm").write_bytes(content[: int(share * len(content))])
    refused(tmp_path, "not a complete model file")


def test_a_changed_byte(shared: tuple[Path, Path], tmp_path: Path) -> None:
    content = bytearray(shared[1].read_bytes())
    content[len(content) // 2] ^= 1
    (tmp_path / "hostile.kfm").write_bytes(content)
    refused(tmp_path, "not installed")
