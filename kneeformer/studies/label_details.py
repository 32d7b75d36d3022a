"""Details of the label study: scores of each structure, and of pseudo-labels in each round."""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from kneeformer.data.storage import open_case, record_file
from kneeformer.labels import LabelScheme
from kneeformer.metrics.bootstrap import mean_interval, seeds_and_subjects_interval
from kneeformer.metrics.overlap import DICE, count, dice
from kneeformer.metrics.score_table import ScoreTable
from kneeformer.metrics.surface_distance import HD95
from kneeformer.paths import PSEUDO_LABELS
from kneeformer.reporting.score_tables import csv_text
from kneeformer.studies.label_table import Group, by_subject


def structures_csv(tables: Mapping[Group, Sequence[ScoreTable]]) -> str:
    """Dice and HD95 of each structure, with intervals over seeds and subjects.

    Args:
        tables: one per seed, by labels and arm.
    """
    return csv_text(
        ["labels", "arm", "structure", "metric", "mean", "low", "high"],
        (
            [str(labels or "all"), arm, structure, metric.name, *_interval(seeds, structure, metric.name)]
            for (labels, arm), seeds in tables.items()
            for structure in dict.fromkeys(part.structure for part in seeds[0].parts)
            for metric in (DICE, HD95)
        ),
    )


def _interval(seeds: Iterable[ScoreTable], structure: str, metric: str) -> tuple[float, float, float]:
    alone = (replace(t, rows=tuple(r for r in t.rows if r.structure == structure)) for t in seeds)
    return seeds_and_subjects_interval(np.stack([by_subject(table, metric) for table in alone]))


def pseudo_labels_csv(
    trainings: Mapping[Group, Sequence[Path]],
    prepared: Path,
    scheme: LabelScheme,
    person: Callable[[str], str],
) -> str:
    """Dice of pseudo-labels, over trusted voxels, with the labels that the study hides.

    Args:
        trainings: folders of trainings, one per seed.
        prepared: folder of the prepared cases.
        person: of a case, by its name; intervals are over persons.
    """
    return csv_text(
        ["labels", "arm", "repetition", "round", "structure", "images", "dice", "low", "high"],
        (
            [str(labels or "all"), arm, number, int(folder.name.removeprefix("round_")), structure, *scores]
            for (labels, arm), seeds in trainings.items()
            for number, training in enumerate(seeds, 1)
            for folder in sorted((training / PSEUDO_LABELS).glob("round_*"))
            for structure, scores in _of_round(folder, prepared, scheme, person)
        ),
    )


def _of_round(
    folder: Path, prepared: Path, scheme: LabelScheme, person: Callable[[str], str]
) -> Iterator[tuple[str, list[float]]]:
    """For each structure the number of images with known labels, and mean and interval of their Dice."""
    names = sorted(file.stem for file in folder.glob(record_file(folder, "*").name))
    dices = {name: found for name in names if (found := _of_image(folder, prepared, name, scheme))}
    persons = [person(name) for name in dices]
    for structure in scheme.names if dices else ():
        values = [found[structure] for found in dices.values()]
        yield structure, [len(values), *mean_interval(values, persons)]


def _of_image(folder: Path, prepared: Path, name: str, scheme: LabelScheme) -> dict[str, float]:
    """Dice by structure; empty for an image without labels."""
    true, pseudo = open_case(prepared, name).labels, open_case(prepared, name, relabelled=folder).labels
    if true is None or pseudo is None:
        return {}
    truth, found = true[...], pseudo[...]
    trusted = (found >= 0) & scheme.scored(truth)
    pair = truth[trusted], found[trusted]
    return {s: dice(count(*(scheme.structure(labels, s) for labels in pair))) for s in scheme.names}
