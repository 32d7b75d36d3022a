"""Structures that the folds of a dataset can neither train nor validate."""

from collections.abc import Iterator, Mapping, Sequence

from kneeformer.data.splits import Split


def uncovered(
    splits: Sequence[Split], volumes: Mapping[str, Mapping[str, float]], structures: Sequence[str]
) -> list[str]:
    """A line for each structure that a fold cannot train or validate, and one for cases in no fold.

    Args:
        volumes: mm3 of each structure, by case.
    """
    found = {name: "; ".join(_of(name, splits, volumes)) for name in structures}
    lines = [f"{name}: {text}" for name, text in found.items() if text]
    used = {case for split in splits for side in split.values() for case in side}
    if unused := sorted(set(volumes) - used):
        lines.append(
            f"in no fold, so neither learnt from nor validated on: {', '.join(unused)}; add them, or move "
            f"the file away to make new splits"
        )
    return lines


def _of(structure: str, splits: Sequence[Split], volumes: Mapping[str, Mapping[str, float]]) -> Iterator[str]:
    having = {case for case, of in volumes.items() if of.get(structure, 0) > 0}
    if not having:
        yield "no case has it"
        return
    if len(having) == 1:
        yield f"{min(having)} alone has it"
    for part, lack in (("train", "learnt"), ("val", "validated")):
        folds = [str(k) for k, split in enumerate(splits) if not having & set(split[part])]
        if folds:
            yield f"no {part} case has it in fold {', '.join(folds)}: cannot be {lack} there"
