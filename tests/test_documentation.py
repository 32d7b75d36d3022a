"""The documentation says what is so: its commands run, its links lead somewhere, its tables are complete."""

import ast
import importlib
import json
import os
import re
import runpy
import shutil
import subprocess
import sys
from collections.abc import Iterator
from functools import cache
from importlib.metadata import EntryPoint
from pathlib import Path
from typing import Any, get_args

import pytest
from pydantic import BaseModel
from pydantic_core import PydanticUndefined

from kneeformer.config import Configuration, CropConfiguration
from kneeformer.plans import Plan, read_plan
from kneeformer.tasks.bone_completion.settings import BoneConfiguration, BoneGridSettings
from kneeformer.tasks.mri_reconstruction.settings import KSpaceSettings, ReconstructionConfiguration
from kneeformer.tasks.registry import registered, task_names

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

ROOT = Path(__file__).parent.parent
PAGES = [ROOT / "README.md", ROOT / "CHANGELOG.md", *sorted((ROOT / "documentation").rglob("*.md"))]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
SCRIPTS = {name: EntryPoint(name, value, "console_scripts") for name, value in PROJECT["scripts"].items()}
ENVIRONMENT = {**os.environ, "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"}


def page(name: str) -> str:
    return (ROOT / name).read_text(encoding="utf-8")


def blocks(text: str, language: str) -> list[str]:
    """The fenced blocks of a language, in order."""
    return re.findall(rf"^```{language}\n(.*?)^```", text, re.MULTILINE | re.DOTALL)


def prose(text: str) -> str:
    """A page without its fenced blocks."""
    return re.sub(r"^```.*?^```", "", text, flags=re.MULTILINE | re.DOTALL)


def sections(text: str) -> dict[str, str]:
    """Text below each heading of the second level."""
    parts = re.split(r"^## (.+)$", prose(text), flags=re.MULTILINE)
    return dict(zip(parts[1::2], parts[2::2], strict=True))


def rows(section: str) -> list[list[str]]:
    """Cells of the rows of a section's table whose first cell is code."""
    lines = re.findall(r"^\| (`.*) \|$", section, re.MULTILINE)
    return [[cell.strip() for cell in line.split(" |")] for line in lines]


# ---- commands that run


@pytest.fixture(scope="module")
def worked_through(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    """The tutorial, done: its folder and what it printed."""
    folder = tmp_path_factory.mktemp("tutorial")
    return folder, follow("documentation/tutorial.md", folder)


def follow(tutorial: str, folder: Path) -> str:
    """Run the commands of a page in an empty folder; what they printed."""
    commands = "\n".join(blocks(page(tutorial), "bash"))
    run = subprocess.run(
        ["bash", "-euo", "pipefail", "-c", commands],
        cwd=folder,
        env=ENVIRONMENT,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
    )
    assert run.returncode == 0, f"{run.stdout}\n{run.stderr}"
    return run.stdout


@pytest.mark.slow
def test_the_slicer_tutorial_runs_to_meshes(tmp_path: Path) -> None:
    printed = follow("documentation/tutorial-slicer-to-mesh.md", tmp_path)
    assert "5 cases with labels, 1 without (imagesUn)" in printed and "score" in printed
    assert len(list((tmp_path / "drawn").glob("K0[1-5]_*.stl"))) == 5 * 6
    assert (tmp_path / "predicted" / "K06.seg.nrrd").is_file()


@pytest.mark.slow
def test_the_tibia_tutorial_runs_to_a_completed_bone(tmp_path: Path) -> None:
    printed = follow("documentation/tutorial-broken-tibia.md", tmp_path)
    assert "model: -d Dataset002_Tibia -c 3d_gp" in printed
    made = {file.name.removeprefix("phantom05_R") for file in (tmp_path / "completed").iterdir()}
    assert {".nrrd", ".stl", "_ct.nrrd", ".png", ".json"} <= made
    scores = json.loads((tmp_path / "scores" / "summary.json").read_text())
    assert scores["foreground_mean"]["Dice"] > 0.9


@pytest.mark.slow
def test_the_reconstruction_tutorial_runs_to_scores(tmp_path: Path) -> None:
    printed = follow("documentation/tutorial-reconstruction.md", tmp_path)
    assert "PSNR" in printed and "SSIM" in printed
    assert (tmp_path / "tv" / "phantom_100.nii.gz").is_file()
    facts = json.loads((tmp_path / "network" / "phantom_100.json").read_text(encoding="utf-8"))
    assert facts["data"] == "k-space" and 3.5 < facts["true_acceleration"] < 4.5


@pytest.mark.slow
def test_the_tutorial_runs_from_exports_to_scores(worked_through: tuple[Path, str]) -> None:
    folder, printed = worked_through
    assert "recommended: 3d_vit" in printed and "spacing   7 x 2.5 x 2.5 mm" in printed
    assert "patellar_cartilage" in printed
    assert (folder / "predictions" / "K06.nrrd").is_file()
    assert json.loads((folder / "predictions" / "summary.json").read_text())["cases"] == 1
    shallow = folder / "results" / "Dataset001_Knee" / "myPlans__3d_vit_shallow" / "fold_0" / "plan.json"
    configuration = read_plan(shallow).configuration("3d_vit_shallow")
    assert isinstance(configuration, CropConfiguration) and configuration.network.depth == 4


@pytest.mark.slow
def test_every_file_of_a_fold_is_documented(worked_through: tuple[Path, str]) -> None:
    folder, _ = worked_through
    fold = folder / "results" / "Dataset001_Knee" / "kfPlans__3d_vit" / "fold_0"
    named = re.findall(r"^  (\S+)", page("documentation/reference/dataset-folder.md"), re.MULTILINE)
    assert {p.name for p in fold.iterdir() if p.is_file() and not p.name.startswith(".")} <= set(named)


@pytest.mark.slow
def test_the_python_pages_run(worked_through: tuple[Path, str]) -> None:
    folder, _ = worked_through
    shutil.copy(folder / "exports" / "K06.nrrd", folder / "scan.nrrd")
    code = blocks(page("README.md"), "python") + blocks(page("documentation/how-to/python-api.md"), "python")
    run = subprocess.run(
        [sys.executable, "-c", "\n".join(code)],
        cwd=folder,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
    )
    assert run.returncode == 0, f"{run.stdout}\n{run.stderr}"
    assert "Preprocessing 3d_vit" in run.stdout or "Validating" in run.stdout


def test_the_readme_has_one_command_for_the_demo_and_one_for_the_tests() -> None:
    for mark, last in (("demo-command", "kf_demo"), ("test-command", "pytest")):
        marked = re.findall(rf"<!-- {mark} -->\n(.*?)<!-- /{mark} -->", page("README.md"), re.DOTALL)
        (command,) = blocks(marked[0], "bash")
        assert len(command.strip().splitlines()) == 1
        assert command.strip().endswith(f"&& .venv/bin/{last}")


# ---- links


@pytest.mark.parametrize("file", PAGES, ids=lambda p: str(p.relative_to(ROOT)))
def test_links_lead_somewhere(file: Path) -> None:
    broken = []
    for target in re.findall(r"\]\(([^)\s]+)\)", prose(file.read_text(encoding="utf-8"))):
        if "://" in target:
            continue
        path, _, anchor = target.partition("#")
        to = file.parent / path if path else file
        if not to.exists() or (anchor and anchor not in anchors(to)):
            broken.append(target)
    assert not broken


def anchors(file: Path) -> set[str]:
    """What GitHub calls the headings of a page."""
    headings = re.findall(r"^#+ (.+)$", prose(file.read_text(encoding="utf-8")), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", h.lower()).replace(" ", "-") for h in headings}


def links(index: Path) -> set[Path]:
    targets = re.findall(r"\]\(([^)#\s]+)(?:#[^)]*)?\)", index.read_text(encoding="utf-8"))
    return {(index.parent / target).resolve() for target in targets if "://" not in target}


def test_every_page_is_linked_from_the_index() -> None:
    index = ROOT / "documentation" / "README.md"
    pages = {p.resolve() for p in index.parent.rglob("*.md") if p.parent.name != "api"}  # generated
    indexes = [index, index.parent / "decisions" / "README.md"]
    assert pages <= {index}.union(*map(links, indexes))


NOT_FOR_USERS = ("decisions", "development", "api")


def test_every_page_for_users_is_linked_from_the_readme() -> None:
    pages = (ROOT / "documentation").rglob("*.md")
    assert {p.resolve() for p in pages if p.parent.name not in NOT_FOR_USERS} <= links(ROOT / "README.md")


# ---- the API reference against the docstrings


def test_the_api_reference_has_a_page_per_room_that_its_index_links() -> None:
    pages = runpy.run_path(str(ROOT / "documentation" / "api_reference.py"))["pages"]()
    index = pages.pop("README.md")
    assert set(re.findall(r"\]\((\w+\.md)\)", index)) == set(pages)
    assert "def read_image(path: Path)" in pages["data.md"]


def test_entry_points_of_the_api_exist() -> None:
    named = [name for row in rows(page("documentation/reference/api.md")) for name in row[0].split(", ")]
    assert len(named) > 10
    module = ""
    for name in (name.strip("`| ") for name in named):
        module = name.rpartition(".")[0] or module
        assert hasattr(importlib.import_module(module), name.rpartition(".")[2]), name


def test_the_api_reference_shows_signature_sections_and_methods() -> None:
    source = '''
class Box:
    """A box.

    Attributes:
        size: (z, y, x),
            in mm.
    """

    size: Size
    _hidden: int

    def volume(self) -> float:
        """Return the volume in mm3."""

    def _private(self) -> None:
        """Not shown."""

    def silent(self) -> None:
        pass
'''
    generator = runpy.run_path(str(ROOT / "documentation" / "api_reference.py"))
    (box,) = generator["public"](ast.parse(source).body)
    assert list(generator["of_node"](box)) == [
        "### Box",
        "```python\nclass Box\n    size: Size\n```",
        "A box.\n\n**Attributes**\n\n- `size`: (z, y, x), in mm.",
        "### Box.volume",
        "```python\ndef volume(self) -> float\n```",
        "Return the volume in mm3.",
    ]


# ---- commands.md against -h


def test_every_command_is_in_the_reference_and_in_the_readme() -> None:
    assert set(sections(page("documentation/reference/commands.md"))) == set(SCRIPTS)
    assert {row[0].strip("`") for row in rows(page("README.md"))} == set(SCRIPTS)


@pytest.mark.parametrize("script", SCRIPTS)
def test_flags_in_the_reference_are_those_of_the_command(script: str) -> None:
    section = sections(page("documentation/reference/commands.md"))[script]
    documented = {flag for row in rows(section) for flag in re.findall(r"`(--?\w+)`", row[0])}
    assert documented == flags(script)
    assert set(re.findall(r"`(--?\w+)[^`]*`", section)) <= documented


@cache
def flags(script: str) -> set[str]:
    """Those that `-h` lists."""
    entry = SCRIPTS[script]
    run = subprocess.run(
        [sys.executable, "-c", f"from {entry.module} import {entry.attr} as main; main()", "-h"],
        capture_output=True,
        text=True,
        check=True,
    )
    listed = re.findall(r"^  (-.*?)(?:   *|$)", run.stdout.partition("options:")[2], re.MULTILINE)
    return {flag for line in listed for flag in re.findall(r"(?<!\S)(--?\w+)", line)}


@pytest.mark.parametrize("file", PAGES, ids=lambda p: str(p.relative_to(ROOT)))
def test_commands_in_blocks_exist_with_their_flags(file: Path) -> None:
    for line in "\n".join(blocks(file.read_text(encoding="utf-8"), "bash")).splitlines():
        command = re.match(r"\s*(kf_\w+)([^#]*)", line)
        if command is None or command[1] in ("kf_raw", "kf_preprocessed", "kf_results"):
            continue
        assert set(re.findall(r"(?<!\S)(--?[a-zA-Z_]\w*)", command[2])) <= flags(command[1]), line


# ---- plan.md against the settings


def models(name: str, model: type[BaseModel]) -> Iterator[tuple[str, type[BaseModel]]]:
    """Every model of the plan, under the name of the field that holds it."""
    if model is Configuration:
        for kind in dict.fromkeys(registered(task).settings for task in task_names()):
            yield from models(name, kind)
        return
    yield name, model
    for field, info in model.model_fields.items():
        for inner in inner_models(info.annotation):
            yield from models(field, inner)


def inner_models(annotation: Any) -> Iterator[type[BaseModel]]:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        yield annotation
    for argument in get_args(annotation):
        yield from inner_models(argument)


@pytest.mark.parametrize(("name", "model"), [*models("plan", Plan)])
def test_every_field_of_the_plan_is_documented(name: str, model: type[BaseModel]) -> None:
    titles = sections(page("documentation/reference/plan.md"))
    of_bones = issubclass(model, (BoneConfiguration, BoneGridSettings))
    of_reconstructions = issubclass(model, (ReconstructionConfiguration, KSpaceSettings))
    title = f"{name}{' of bones' * of_bones}{' of reconstructions' * of_reconstructions}"
    (section,) = (text for heading, text in titles.items() if title in heading.split(", "))
    documented = {row[0].strip("| `"): row[1].strip("| `") for row in rows(section)}
    assert set(documented) == set(model.model_fields)
    for field, info in model.model_fields.items():
        fixed = info.default is not PydanticUndefined and info.default is not None
        assert documented[field] == (json.dumps(info.default) if fixed else ""), field
