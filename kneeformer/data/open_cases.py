"""Stored cases that stay open between one crop and the next."""

from pathlib import Path

from kneeformer.data.storage import StoredCase, open_case

AT_A_TIME = 200  # each takes up to 0.6 MB, mostly for the points at which crops are aimed


class OpenCases:
    """Opens stored cases when they are first needed, and closes the least recently used.

    Cases of a small dataset are opened once; memory does not grow with a large one.
    """

    def __init__(self, at_a_time: int = AT_A_TIME, labels: Path | None = None) -> None:
        """`labels` is the folder of other labels than the cases' own (`storage.relabel_case`)."""
        self._at_a_time, self._labels = at_a_time, labels
        self._cases: dict[Path, StoredCase] = {}  # the most recently used last

    def __getitem__(self, case: Path) -> StoredCase:
        """The case stored as folder / name. Raises KneeformerError: as `open_case`."""
        stored = self._cases.pop(case, None) or open_case(case.parent, case.name, self._labels)
        while len(self._cases) >= self._at_a_time:
            self._cases.pop(next(iter(self._cases)))
        self._cases[case] = stored
        return stored

    def __len__(self) -> int:
        return len(self._cases)
