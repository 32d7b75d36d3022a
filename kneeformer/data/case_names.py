"""Names of cases become names of files: names that cannot, and names that would clash."""

import unicodedata
from collections import defaultdict
from collections.abc import Callable, Iterable

# in a fold's validation folder, beside the files of its cases
_TAKEN = ("summary", "completion", "registration", "reconstruction", "codebook")


def case_name_faults(names: Iterable[str]) -> list[str]:
    """A line for each name that no case can have, and for names that some disks cannot tell apart."""
    distinct = sorted(set(names))
    lines = [f"a case cannot be called {n!r}: its files would lie elsewhere" for n in distinct if _leads(n)]
    lines += [
        f"a case cannot be called {n!r}: {n}.json in its validation folder holds scores; rename its files"
        for n in distinct
        if n.casefold() in _TAKEN
    ]
    lines += [
        f"{group} are the same name on disks that ignore capitals; rename the files of one of them"
        for group in _alike(distinct, str.casefold)
    ]
    lines += [f"{group} look the same; rename the files of one of them" for group in _alike(distinct, _seen)]
    return lines


def names_alike(names: Iterable[str]) -> list[str]:
    """Names that differ in case, spaces or invisible characters alone, each group as one text."""
    return _alike(sorted(set(names)), lambda name: _seen(name).casefold())


def _alike(names: Iterable[str], by: Callable[[str], str]) -> list[str]:
    """Groups of names that are equal `by` something, each group as one text."""
    groups: dict[str, list[str]] = defaultdict(list)
    for name in names:
        groups[by(name)].append(name)
    return [" and ".join(map(repr, group)) for group in groups.values() if len(group) > 1]


def _seen(name: str) -> str:
    """The name as it looks: without invisible characters, and with plain spaces and letters."""
    visible = (c for c in unicodedata.normalize("NFKC", name) if unicodedata.category(c) != "Cf")
    return " ".join("".join(visible).split())


def _leads(name: str) -> bool:
    """True where a name is a path to another folder."""
    return name in ("", ".", "..") or any(sign in name for sign in "/\\\0")
