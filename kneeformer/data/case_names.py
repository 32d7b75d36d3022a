"""Names of cases become names of files: which cannot, and which would become one."""

from collections.abc import Iterable

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
    alike: dict[str, list[str]] = {}
    for name in distinct:
        alike.setdefault(name.casefold(), []).append(name)
    lines += [
        f"{' and '.join(map(repr, group))} are one name to many disks, which do not tell upper from lower "
        f"case; rename the files of one of them"
        for group in alike.values()
        if len(group) > 1
    ]
    return lines


def _leads(name: str) -> bool:
    """True where a name is a path to another folder."""
    return name in ("", ".", "..") or any(sign in name for sign in "/\\\0")
