"""Bones side by side over the cores: each of many small computations on one of them."""

from collections.abc import Callable, Sequence
from typing import TypeVar

import torch

Given = TypeVar("Given")
Made = TypeVar("Made")


def side_by_side(
    make: Callable[[Given], Made],
    items: Sequence[Given],
    watch: Callable[[int, int], None] = lambda done, of: None,
) -> list[Made]:
    """`[make(item) for item in items]`, as many at once as torch has threads, each on one thread.

    Small tensors gain little from several threads, and bones are many. What comes out does not depend on the
    number of cores.
    """
    from joblib import Parallel, delayed  # 0.3 s: not before there is work

    threads = torch.get_num_threads()
    made: list[Made] = []

    def alone(item: Given) -> Made:
        torch.set_num_threads(1)  # a thread has its own number
        return make(item)

    try:
        torch.set_num_threads(1)
        parallel = Parallel(min(threads, max(1, len(items))), prefer="threads", return_as="generator")
        for one in parallel(delayed(alone)(item) for item in items):
            made.append(one)
            watch(len(made), len(items))
    finally:
        torch.set_num_threads(threads)
    return made
