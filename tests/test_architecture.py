"""Rules of the house that a linter does not know, read from the source."""

import ast
import importlib.util
import re
import subprocess
import sys
from collections.abc import Iterator
from functools import cache
from importlib.metadata import packages_distributions
from pathlib import Path

import pytest

import kneeformer
from kneeformer.tasks.registry import task_names

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

PACKAGE = Path(kneeformer.__file__).parent
PROJECT = Path(__file__).parent.parent
MODULES = sorted(PACKAGE.rglob("*.py"))


@cache
def tree(file: Path) -> ast.Module:
    return ast.parse(file.read_text(encoding="utf-8"), str(file))


def room(file: Path) -> str:
    return file.relative_to(PACKAGE).parts[0]


def place(file: Path, node: ast.AST) -> str:
    return f"{file.relative_to(PACKAGE)}:{getattr(node, 'lineno', '?')}"


def decisions(module: ast.Module) -> Iterator[ast.AST]:
    """Every comparison and every case of a match."""
    return (node for node in ast.walk(module) if isinstance(node, (ast.Compare, ast.match_case)))


def names_a_task(decision: ast.AST) -> bool:
    return any(isinstance(node, ast.Constant) and node.value in task_names() for node in ast.walk(decision))


def is_print(node: ast.AST) -> bool:
    """A call of print, or sys.stdout and sys.stderr by name."""
    if isinstance(node, ast.Call):
        return isinstance(node.func, ast.Name) and node.func.id in {"print", "pprint"}
    return (
        isinstance(node, ast.Attribute)
        and node.attr in {"stdout", "stderr"}
        and (isinstance(node.value, ast.Name) and node.value.id == "sys")
    )


def scripts() -> dict[str, str]:
    content = tomllib.loads((PROJECT / "pyproject.toml").read_text(encoding="utf-8"))
    found: dict[str, str] = content["project"]["scripts"]
    return found


def functions(file: Path) -> set[str]:
    return {node.name for node in tree(file).body if isinstance(node, ast.FunctionDef)}


def test_the_rules_themselves_see_what_they_forbid() -> None:
    seen = ast.parse('if task in ("segmentation", "x"): pass\nmatch task:\n  case "segmentation": pass')
    assert [names_a_task(d) for d in decisions(seen)] == [True, True]
    assert any(map(is_print, ast.walk(ast.parse("print(1)"))))
    assert any(map(is_print, ast.walk(ast.parse("sys.stderr.write('x')"))))


def test_no_decision_names_a_task_outside_tasks() -> None:
    assert len(MODULES) > 40 and "segmentation" in task_names()
    found = [
        place(file, decision)
        for file in MODULES
        if room(file) not in {"tasks"}
        for decision in decisions(tree(file))
        if names_a_task(decision)
    ]
    assert not found


def asks_for_a_kind(node: ast.AST) -> bool:
    """An isinstance of a task, a configuration or its settings."""
    if not (isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "isinstance"):
        return False
    names = [n.id for n in ast.walk(node.args[1]) if isinstance(n, ast.Name)]
    return any(name.endswith(("Configuration", "Settings", "Task")) for name in names)


def test_nothing_asks_which_kind_a_configuration_is_outside_tasks() -> None:
    assert asks_for_a_kind(ast.parse("isinstance(x, A | BoneConfiguration)", mode="eval").body)
    found = [
        place(file, node)
        for file in MODULES
        if room(file) != "tasks"
        for node in ast.walk(tree(file))
        if asks_for_a_kind(node)
    ]
    assert not found


def test_nothing_prints_outside_the_command_line() -> None:
    found = [
        place(file, node)
        for file in MODULES
        if room(file) != "cli"
        for node in ast.walk(tree(file))
        if is_print(node)
    ]
    assert not found


@pytest.mark.parametrize("script", scripts())
def test_every_console_script_has_its_module(script: str) -> None:
    module, function = scripts()[script].split(":")
    assert script.startswith("kf_") and module == f"kneeformer.cli.{script.removeprefix('kf_')}"
    specification = importlib.util.find_spec(module)
    assert specification is not None and specification.origin is not None
    assert function in functions(Path(specification.origin))


def test_every_command_has_its_console_script() -> None:
    commands = {f.stem for f in (PACKAGE / "cli").glob("*.py") if "main" in functions(f)}
    assert commands == {name.removeprefix("kf_") for name in scripts()}


def test_there_is_no_drawer_for_everything() -> None:
    assert not [f for f in MODULES if {"util", "utils", "helpers", "misc", "common"} & {*f.parts, f.stem}]


def test_user_errors_are_no_asserts() -> None:
    """An assert may tell a type checker what holds (`is not None`); it has no message for a person."""
    found = [
        place(file, node)
        for file in MODULES
        for node in ast.walk(tree(file))
        if isinstance(node, ast.Assert) and node.msg is not None
    ]
    assert not found


def documented(file: Path) -> Iterator[tuple[ast.AST, str]]:
    """Every module, class and function of a file with a docstring, and the docstring."""
    for node in ast.walk(tree(file)):
        if isinstance(node, (ast.Module, ast.ClassDef, ast.FunctionDef)) and (
            text := ast.get_docstring(node)
        ):
            yield node, text


def test_docstrings_say_what_is_returned_or_done() -> None:
    """None starts as an indirect question, such as `How a case is read`."""
    questions = ("What ", "Where ", "Whether ", "How ", "Which ", "Who ", "Why ", "When ")
    found = [
        place(file, node) for file in MODULES for node, text in documented(file) if text.startswith(questions)
    ]
    assert not found


def test_every_public_function_and_class_has_a_docstring() -> None:
    found = [
        f"{place(file, node)} {node.name}"
        for file in MODULES
        if room(file) != "cli"
        for node in tree(file).body
        if isinstance(node, (ast.FunctionDef, ast.ClassDef))
        and not node.name.startswith("_")
        and not ast.get_docstring(node)
    ]
    assert not found


def test_cases_are_checked_before_anything_is_loaded_that_takes_long() -> None:
    """Each child process of a command would wait for it; scipy loads its parts when they are first used."""
    code = "import sys, kneeformer.workflows.fingerprint; print(*sys.modules)"
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    slow = {"torch", "matplotlib", "skimage.measure", "scipy.ndimage", "scipy.spatial", "scipy.sparse"}
    assert not slow & set(run.stdout.split())


def imported_packages(module: ast.Module) -> set[str]:
    """Top-level names of what a module imports, wherever in it."""
    names = [a.name for node in ast.walk(module) if isinstance(node, ast.Import) for a in node.names]
    names += [n.module or "" for n in ast.walk(module) if isinstance(n, ast.ImportFrom) and n.level == 0]
    return {name.partition(".")[0] for name in names}


def normal(distribution: str) -> str:
    """The name of a distribution as package indexes compare it."""
    return re.sub(r"[-_.]+", "-", re.split(r"[^\w.-]", distribution, maxsplit=1)[0]).lower()


@pytest.mark.skipif(sys.version_info < (3, 11), reason="3.10 finds packages by top_level.txt alone")
def test_every_package_that_is_imported_is_declared() -> None:
    assert imported_packages(ast.parse("import a.b\ndef f():\n    from c.d import e")) == {"a", "c"}
    assert normal("Connected_components-3D[x]>=3.12; python_version < '4'") == "connected-components-3d"
    project = tomllib.loads((PROJECT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    extras = {name: lines for name, lines in project["optional-dependencies"].items() if name != "test"}
    declared = {normal(line) for lines in (project["dependencies"], *extras.values()) for line in lines}
    imported = set[str]().union(*(imported_packages(tree(file)) for file in MODULES))
    others = imported - sys.stdlib_module_names - {"kneeformer", "__future__"}
    distributions = packages_distributions()
    assert {"torch", "skimage", "cc3d"} <= others
    undeclared = {
        name for name in others if not declared & {normal(d) for d in distributions.get(name, [name])}
    }
    assert not undeclared


def aliases(module: ast.Module) -> list[str]:
    """Module-level names of types such as tuple[int, int, int], each with what it stands for."""
    assigned = [node for node in module.body if isinstance(node, ast.Assign)]
    types = [node for node in assigned if isinstance(node.value, ast.Subscript)]
    return [f"{ast.unparse(node.targets[0])} = {ast.unparse(node.value)}" for node in types]


def test_sizes_spacings_and_batches_are_named_once() -> None:
    assert aliases(ast.parse("A = tuple[int,int,int]\nB: int = 1")) == ["A = tuple[int, int, int]"]
    found = [alias for file in MODULES for alias in aliases(tree(file))]
    names = [alias.partition(" ")[0] for alias in found]
    assert [alias for alias in found if alias.endswith("= tuple[int, int, int]")] == [
        "Size = tuple[int, int, int]"
    ]
    assert {name: names.count(name) for name in ("Size", "Spacing", "Vector", "Box", "Affine", "Batch")} == {
        "Size": 1,
        "Spacing": 1,
        "Vector": 1,
        "Box": 1,
        "Affine": 1,
        "Batch": 1,
    }


def words_of(node: ast.AST) -> set[str]:
    """Words of the name that a node defines or uses: `make_StepCost` has make, step and cost."""
    name = next(
        (getattr(node, field) for field in ("name", "id", "attr", "arg") if hasattr(node, field)), None
    )
    return {w.lower() for w in re.findall(r"[A-Z]?[a-z]+|[A-Z]+(?![a-z])", name or "")}


def test_names_are_of_the_fields_words() -> None:
    """Words of our own that the field does not know; the glossary has those to use."""
    own = {"lesson", "course", "moment", "hung", "splinter", "splinters", "essence", "uncounted"}
    assert words_of(ast.parse("Hung_upSplinters").body[0].value) == {"hung", "up", "splinters"}
    found = [place(file, node) for file in MODULES for node in ast.walk(tree(file)) if own & words_of(node)]
    assert not found
