"""Regions and the order in which they are painted: accepted exactly where painting gives them back."""

import re

import numpy as np
import pytest
import torch

from kneeformer.engine.losses import IGNORE_INDEX, class_indices, region_targets
from kneeformer.errors import KneeformerError
from kneeformer.labels import LabelScheme, LabelValues


def refusal(labels: LabelValues, order: list[int]) -> str | None:
    try:
        LabelScheme.from_json({"background": 0, **labels}, order)
    except KneeformerError as fault:
        return str(fault)
    return None


@pytest.mark.parametrize(
    ("labels", "order"),
    [
        ({"whole": [1, 2, 3], "core": [2, 3], "enhancing": 3}, [1, 2, 3]),
        ({"whole": [1, 2], "core": [2]}, [1, 2]),
        ({"both": [1, 2]}, [2]),
        ({"bone": [1, 3, 5], "femur": 1}, [3, 1]),
        ({"bone": [1, 3, 5], "femur": 1}, [5, 1]),
        ({"femur": 1, "cartilage": [2, 3]}, [1, 3]),
        ({"a": [1, 2], "b": [3, 4], "all": [1, 2, 3, 4], "b1": 3, "a2": [2]}, [1, 4, 4, 3, 2]),
    ][:6],
)
def test_orders_that_give_the_regions_back(labels: LabelValues, order: list[int]) -> None:
    assert refusal(labels, order) is None


@pytest.mark.parametrize(
    ("labels", "order", "message"),
    [
        (
            {"whole": [1, 2, 3], "core": [2, 3], "enhancing": 3},
            [3, 2, 1],
            "regions_class_order [3, 2, 1]: it writes 1 for 'enhancing', which is made of 3; write [1, 2, 3]",
        ),
        (
            {"bone": [1, 2], "femur": 1},
            [1, 1],
            "regions_class_order [1, 1]: a voxel of 'bone' (2) would become one of 'bone' and 'femur' (1); "
            "write [2, 1]",
        ),
        (
            {"femur": 1, "bone": [1, 2]},
            [1, 2],
            "regions_class_order [1, 2]: a voxel of 'femur' and 'bone' (1) would become one of 'bone' (2); "
            "list the labels in the order bone, femur, larger regions first, and write [2, 1]",
        ),
        (
            {"a": [1, 2], "b": [2, 3]},
            [1, 3],
            "regions_class_order [1, 3]: a voxel of 'a' and 'b' (2) would become one of 'b' (3); no order "
            "works, since these regions overlap and neither holds the other: name their parts as labels of "
            "their own",
        ),
        (
            {"femur": 1, "cartilage": [2, 3]},
            [1, 7],
            "regions_class_order [1, 7]: it writes 7 for 'cartilage', which is made of 2, 3; write [1, 2]",
        ),
    ],
)
def test_orders_that_do_not(labels: LabelValues, order: list[int], message: str) -> None:
    assert refusal(labels, order) == message


def test_accepted_is_what_painting_gives_back_and_the_order_that_is_told_is_accepted() -> None:
    """Random regions and orders, painted for real and looked at again."""
    rng = np.random.default_rng(12)
    counts = {"accepted": 0, "refused": 0, "order told": 0}
    for _ in range(1500):
        names = ["a", "b", "c"][: rng.integers(1, 4)]
        labels: LabelValues = {
            n: sorted(rng.choice([1, 2, 3, 4], rng.integers(1, 5), replace=False).tolist()) for n in names
        }
        groups = [v for v in labels.values() if isinstance(v, list)]
        if len({*map(tuple, groups)}) < len(groups):
            continue
        order = [int(rng.choice(g)) for g in groups]
        truth = np.array([0, *sorted({v for g in groups for v in g})])
        painted = np.zeros_like(truth)
        for group, value in zip(groups, order, strict=True):
            painted[np.isin(truth, group)] = value
        same = all((np.isin(truth, g) == np.isin(painted, g)).all() for g in groups)
        text = refusal(labels, order)
        assert (text is None) == same, (labels, order, text)
        counts["accepted" if same else "refused"] += 1
        if text is not None and (told := re.search(r"write \[(.*)\]", text)) is not None:
            listed = re.search(r"in the order (.*), larger", text)
            sequence = listed[1].split(", ") if listed is not None else names
            right = [int(v) for v in told[1].split(", ")]
            assert refusal({n: labels[n] for n in sequence}, right) is None
            counts["order told"] += 1
    print(counts)
    assert min(counts.values()) > 100


def test_lists_without_an_order_merge_values_and_the_background_takes_others() -> None:
    scheme = LabelScheme.from_json({"background": [0, 7, 8], "bone": [1, 3], "cartilage": [2, 4]})
    assert (scheme.has_regions, scheme.outputs, scheme.painted) == (False, 3, (1, 2))
    assert scheme.declared() == {0, 1, 2, 3, 4, 7, 8}
    files = torch.tensor([[[[0, 1, 2, 3, 4, 7, 8, IGNORE_INDEX]]]])
    assert class_indices(files, scheme).flatten().tolist() == [0, 1, 2, 1, 2, 0, 0, IGNORE_INDEX]
    bone = region_targets(files, scheme)[0, 0].flatten().tolist()
    assert bone == [False, True, False, True, False, False, False, False]


def test_what_is_mapped_to_background_is_no_foreground() -> None:
    scheme = LabelScheme.from_json({"background": [0, 9], "femur": [1, 3], "ignore": 12})
    assert scheme.foreground(np.array([0, 1, 3, 9, 12])).tolist() == [False, True, True, False, False]


def test_values_beside_the_usual_ones_are_background_where_that_is_said() -> None:
    scheme = LabelScheme.from_json({"background": [0, 9], "femur": 1, "tibia": 2})
    assert class_indices(torch.tensor([0, 1, 2, 9]), scheme).tolist() == [0, 1, 2, 0]


@pytest.mark.parametrize(
    "labels", [{"background": [0, 1], "femur": 1}, {"background": [0, 3], "a": 1, "ignore": 3}]
)
def test_a_value_of_the_background_has_no_other_name(labels: dict[str, int | list[int]]) -> None:
    with pytest.raises(KneeformerError, match="is the background's and has another name"):
        LabelScheme.from_json(labels)


def test_lists_that_overlap_need_an_order() -> None:
    with pytest.raises(KneeformerError, match="need regions_class_order"):
        LabelScheme.from_json({"background": 0, "bone": [1, 2], "femur": 1})


def test_a_structure_has_one_value_once_it_is_simplified() -> None:
    scheme = LabelScheme.from_json({"background": [0, 7, 8], "bone": [1, 3], "cartilage": 2, "ignore": 9})
    found = scheme.simplified(np.array([0, 1, 2, 3, 7, 8, 9], np.uint8))
    assert (found.tolist(), found.dtype) == ([0, 1, 2, 1, 0, 0, 9], np.uint8)
    regions = LabelScheme.from_json({"background": 0, "knee": [1, 2], "bone": 2}, [1, 2])
    assert regions.simplified(np.array([0, 1, 2], np.uint8)).tolist() == [0, 1, 2]
