"""Writes the API reference, documentation/reference/api, from the docstrings of the package.

    python documentation/api_reference.py

A page a room, made from the source alone: nothing is imported. Private names, methods without a docstring
and the command line are left out.
"""

import ast
import re
import textwrap
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).parent.parent
PACKAGE = ROOT / "kneeformer"
FOLDER = ROOT / "documentation" / "reference" / "api"
LEFT_OUT = {PACKAGE / name for name in ("__init__.py", "cli", "progress.py")}  # the last names a type alone
SECTIONS = ("Args", "Attributes", "Raises", "Returns", "Yields")

Documented = ast.ClassDef | ast.FunctionDef


def pages() -> dict[str, str]:
    """Return the text of every page by its file name."""
    rooms = sorted({PACKAGE / p.relative_to(PACKAGE).parts[0] for p in PACKAGE.rglob("*.py")} - LEFT_OUT)
    lines = [f"| [{room.stem}]({room.stem}.md) | {about(room)} |" for room in rooms]
    index = "\n".join([INDEX, "| room | contents |", "|---|---|", *lines]) + "\n"
    return {"README.md": index, **{f"{room.stem}.md": page(room) for room in rooms}}


INDEX = """# API reference

Arrays are (z, y, x), with channels and batch before; lengths are in mm. Start with [Use kneeformer from
Python](../../how-to/python-api.md).
"""


def page(room: Path) -> str:
    """Return the Markdown page of a room: a package or a module."""
    modules = [room] if room.suffix else sorted(p for p in room.rglob("*.py") if p.name != "__init__.py")
    blocks = (block for module in modules for block in of_module(module))
    return "\n\n".join([f"# kneeformer.{room.stem}", *([] if room.suffix else [about(room)]), *blocks]) + "\n"


def of_module(file: Path) -> Iterator[str]:
    """Yield the Markdown blocks of a module, if it has public names."""
    tree = ast.parse(file.read_text(encoding="utf-8"))
    blocks = [block for node in public(tree.body) for block in of_node(node)]
    if blocks:
        name = ".".join(file.relative_to(ROOT).with_suffix("").parts)
        yield from (f"## {name}", markdown(ast.get_docstring(tree)), *blocks)


def of_node(node: Documented, owner: str = "") -> Iterator[str]:
    """Yield heading, signature and docstring of a class or function, then its documented methods."""
    yield f"### {owner}{node.name}"
    yield f"```python\n{signature(node)}\n```"
    yield markdown(ast.get_docstring(node))
    if isinstance(node, ast.ClassDef):
        for method in public(node.body):
            if isinstance(method, ast.FunctionDef) and ast.get_docstring(method):
                yield from of_node(method, f"{node.name}.")


def public(body: list[ast.stmt]) -> Iterator[Documented]:
    """Yield classes and functions whose names do not begin with an underscore."""
    for node in body:
        if isinstance(node, (ast.ClassDef, ast.FunctionDef)) and not node.name.startswith("_"):
            yield node


def signature(node: Documented) -> str:
    """Return a `def` line with its decorators, or a `class` line with the fields of the class."""
    if isinstance(node, ast.FunctionDef):
        returns = f" -> {ast.unparse(node.returns)}" if node.returns else ""
        marks = "".join(f"@{ast.unparse(d)}\n" for d in node.decorator_list)
        line = f"def {node.name}({ast.unparse(node.args)}){returns}"
        return marks + (line if len(line) <= 110 else wrapped(node, returns))
    bases = ", ".join(ast.unparse(b) for b in node.bases)
    fields = [f"    {ast.unparse(f)}" for f in node.body if isinstance(f, ast.AnnAssign)]
    shown = [f for f in fields if not f.strip().startswith("_")]
    return "\n".join([f"class {node.name}({bases})" if bases else f"class {node.name}", *shown])


def wrapped(node: ast.FunctionDef, returns: str) -> str:
    """Return a long `def` line with one argument per line."""
    arguments = re.sub(r", (?=\*?\*?\w+(:|=|$|,))", ",\n    ", ast.unparse(node.args))
    return f"def {node.name}(\n    {arguments},\n){returns}"


def markdown(docstring: str | None) -> str:
    """Return a docstring in Google's style as Markdown: its sections become lists."""
    blocks = re.split(rf"^({'|'.join(SECTIONS)}):\n", docstring or "", flags=re.MULTILINE)
    text = blocks[0].strip()
    for title, body in zip(blocks[1::2], blocks[2::2], strict=True):
        entries = re.sub(r"\n +", " ", textwrap.dedent(body).strip()).splitlines()
        items = [re.sub(r"^(\w[\w, ]*): ", r"`\1`: ", entry) for entry in entries if entry]
        text += f"\n\n**{title}**\n\n" + "\n".join(f"- {item}" for item in items)
    return text


def about(room: Path) -> str:
    """Return the first line of a room's docstring."""
    file = room if room.suffix else room / "__init__.py"
    return (ast.get_docstring(ast.parse(file.read_text(encoding="utf-8"))) or "").partition("\n")[0]


def write() -> None:
    """Write all pages, and remove those of rooms that are gone."""
    written = pages()
    FOLDER.mkdir(parents=True, exist_ok=True)
    for old in FOLDER.glob("*.md"):
        old.unlink()
    for name, text in written.items():
        (FOLDER / name).write_text(text, encoding="utf-8")


if __name__ == "__main__":
    write()
