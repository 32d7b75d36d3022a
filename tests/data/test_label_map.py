"""Whole numbers of label maps, by hand."""

import numpy as np
import pytest

from kneeformer.data.label_map import as_label_map, not_whole


@pytest.mark.parametrize(
    ("values", "dtype"),
    [
        ([0, 255], np.uint8),
        ([0, 256], np.int16),
        ([-1, 3], np.int16),
        ([0, 40000], np.int32),
        ([0.9999999, 40000.0004], np.int32),
    ],
)
def test_the_first_type_that_holds_them(values: list[float], dtype: type) -> None:
    labels = as_label_map(np.array(values))
    assert labels.dtype == dtype and labels.tolist() == [round(v) for v in values]


@pytest.mark.parametrize("values", [[0.5, 1], [np.nan, 1], [np.inf, 1], [0, 2**40]])
def test_what_is_no_label_map_is_left_alone(values: list[float]) -> None:
    array = np.array(values)
    assert as_label_map(array) is array
    assert not_whole(array) == (0 if 2**40 in values else 1)
