"""Side by side, in order, and torch's threads are given back."""

import pytest
import torch

from kneeformer.shape_models.side_by_side import side_by_side


def test_all_are_made_in_order_on_one_thread_each() -> None:
    threads, seen = torch.get_num_threads(), []
    torch.set_num_threads(2)
    try:
        made = side_by_side(lambda n: (n * n, torch.get_num_threads()), range(7), lambda *at: seen.append(at))
        assert made == [(n * n, 1) for n in range(7)]
        assert seen == [(n, 7) for n in range(1, 8)]
        with pytest.raises(ZeroDivisionError):
            side_by_side(lambda n: 1 / n, [1, 0])
        assert torch.get_num_threads() == 2
    finally:
        torch.set_num_threads(threads)
    assert side_by_side(abs, []) == []
