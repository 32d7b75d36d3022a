"""Structures whose Dice improves when only their largest components are kept."""

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import TypeVar

from kneeformer.data.dataset import Dataset
from kneeformer.data.label_map import read_label_map
from kneeformer.data.processes import default_processes, run_each
from kneeformer.geometry.components import count_components, largest_components
from kneeformer.labels import LabelScheme
from kneeformer.metrics.bootstrap import mean_interval
from kneeformer.metrics.overlap import count, dice
from kneeformer.metrics.records import Number, Record
from kneeformer.progress import Progress

Item = TypeVar("Item")
Result = TypeVar("Result")
Pair = tuple[Path, Path]  # files of reference and prediction


class Kept(Record):
    """A structure of which only the largest `components` are kept.

    Attributes:
        difference: gain in Dice, with its 95 % interval over subjects, `low` to `high`.
    """

    structure: str
    components: int
    difference: Number
    low: Number
    high: Number


def helpful_components(
    dataset: Dataset, predictions: Mapping[str, Path], watch: Progress
) -> tuple[Kept, ...]:
    """The structures whose validation Dice is significantly better with only their largest components.

    As many are kept as the training label with the most has, apart from noise: for example two of the
    tibial cartilage. Overlapping regions are left alone, since their voxels belong to several structures.

    Args:
        predictions: label map of each validation case.
    """
    scheme = dataset.description.scheme
    if scheme.has_regions:
        return ()
    labels = {case.name: case.label for case in dataset.training_cases() if case.label is not None}
    numbers = _each(partial(_components, scheme), [*labels.values()], "Counting components", watch)
    most = {name: max(found[name] for found in numbers) for name in scheme.names}
    names = [name for name in labels if name in predictions]
    pairs = [(labels[name], predictions[name]) for name in names]
    gains = _each(partial(_gains, scheme, most), pairs, "Post-processing", watch)
    subjects = [dataset.description.subject(name) for name in names]
    found = []
    for name in scheme.names:
        mean, low, high = mean_interval([gain[name] for gain in gains], subjects)
        if low > 0:
            found.append(Kept(structure=name, components=most[name], difference=mean, low=low, high=high))
    return tuple(found)


def _each(
    function: Callable[[Item], Result], items: Sequence[Item], what: str, watch: Progress
) -> list[Result]:
    """Results of all items, computed in child processes. Raises what any of them raises."""
    outcomes = run_each(
        function,
        items,
        [str(item) for item in items],
        default_processes(),
        lambda done: watch(what, done, len(items)),
    )
    for outcome in outcomes:
        if isinstance(outcome, Exception):
            raise outcome
    return [outcome for outcome in outcomes if not isinstance(outcome, Exception)]


def _components(scheme: LabelScheme, label: Path) -> dict[str, int]:
    labels = read_label_map(label).array
    return {name: count_components(scheme.structure(labels, name)) for name in scheme.names}


def _gains(scheme: LabelScheme, most: Mapping[str, int], pair: Pair) -> dict[str, float]:
    """Dice of each structure with its largest components alone, minus that with all."""
    drawn, predicted = map(read_label_map, pair)
    truth, found = drawn.array, predicted.reoriented_to(drawn.grid).array
    counted, gains = scheme.scored(truth), {}
    for name in scheme.names:
        reference, mask = scheme.structure(truth, name), scheme.structure(found, name)
        kept = largest_components(mask, most[name])
        with_all, without = (dice(count(reference & counted, m & counted)) for m in (mask, kept))
        gains[name] = without - with_all
    return gains
