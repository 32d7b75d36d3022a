"""The bone to keep where a mask marks none: found in the scan by a segmentation of the same plan."""

import shlex
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path

import numpy as np

from kneeformer.engine.checkpoint import digest, load_weights
from kneeformer.errors import KneeformerError
from kneeformer.geometry.components import components_reaching
from kneeformer.labels import KEEP
from kneeformer.paths import FINAL
from kneeformer.tasks.cases import Outputs, Scan

_NOISE = 0.02  # of the bone: less found elsewhere is no other bone
_LEAST = 0.05  # of the bone lies outside the region; less is the rim of a hidden bone

Segment = Callable[[Scan], Outputs]


@dataclass(frozen=True)
class BoneFinder:
    """The segmentation that finds bones for a completion.

    Attributes:
        folder: RESULTS/DATASET/PLANS__CONFIGURATION, with its folds once they are trained.
        load: returns its prediction function; called once, when a mask first needs it.
    """

    folder: Path
    load: Callable[[], Segment]

    @property
    def name(self) -> str:
        """Name of the configuration."""
        return self.folder.name.rpartition("__")[2]

    def weights(self) -> list[str]:
        """Digests of the weights of its folds, for JSON."""
        return [digest(load_weights(file)) for file in sorted(self.folder.glob(f"fold_*/{FINAL}"))]

    def refusal(self) -> str | None:
        """Return why a mask must mark the bone to keep; None where a trained segmentation finds it."""
        if any(self.folder.glob(f"fold_*/{FINAL}")):
            return None
        dataset, plans = self.folder.parent.name, self.folder.name.removesuffix(f"__{self.name}")
        return (
            f"keeps no bone, no voxel is {KEEP}, and {self.name}, which would find the bone, is not trained: "
            f"no fold in {self.folder}; mark the bone to keep with {KEEP}, or train it with "
            + shlex.join(("kf_train", dataset, self.name, "0", "-p", plans))
        )

    def with_bone(self, scan: Scan) -> Scan:
        """The scan with bone to keep in its mask; where none is marked, bone is found outside the region.

        Bone that does not reach the region is another one, such as that of the other leg, and is left out.

        Raises:
            KneeformerError: the mask marks no bone, and the segmentation is not trained or finds hardly any.
        """
        assert scan.mask is not None
        if (scan.mask == KEEP).any():
            return scan
        if (refusal := self.refusal()) is not None:
            raise KneeformerError(refusal)
        everything = self._segment(replace(scan, mask=None)).volumes[""] > 0
        found = components_reaching(everything, scan.mask > 0)
        kept = found & (scan.mask == 0)
        if kept.sum() <= _LEAST * found.sum():
            raise KneeformerError(
                f"everything is hidden: {self.name} finds hardly any bone outside the region to complete; "
                f"draw the region smaller, or mark the bone to keep with {KEEP}"
            )
        mask = np.where(kept, KEEP, scan.mask).astype(np.uint8)
        elsewhere = np.count_nonzero(everything & ~found) * scan.grid.voxel_mm3 / 1000
        doubts = self._doubts(elsewhere, np.count_nonzero(found) * scan.grid.voxel_mm3 / 1000)
        return replace(scan, mask=mask, bone_found_by=self.name, doubts=doubts)

    def _doubts(self, elsewhere_ml: float, found_ml: float) -> tuple[str, ...]:
        if elsewhere_ml < _NOISE * found_ml:
            return ()
        return (
            f"{self.name} finds {elsewhere_ml:.1f} ml of bone that do not reach the region to complete, "
            f"beside {found_ml:.1f} ml that do: they are left out, as of the other leg; if they belong to "
            f"this bone, mark it with {KEEP}",
        )

    @cached_property
    def _segment(self) -> Segment:
        return self.load()
