"""The arms of the study of few labels, and its ablations of the pre-training."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Arm:
    """One way to train with few labels.

    Attributes:
        settings: as --set takes them.
        teaches: whether a teacher labels images without labels for it.
        pretraining: settings of the pre-training that it starts from; None starts from random weights.
        beside: arms to compare with; the best of them counts.
        ablation: what is varied, for a panel of the plot; "" if nothing is.
    """

    name: str
    settings: tuple[str, ...]
    teaches: bool = False
    pretraining: tuple[str, ...] | None = None
    beside: tuple[str, ...] = ()
    ablation: str = ""


_SCRATCH = ("training.averaged_share=0.0", "teacher=null")
_AVERAGED = "training.averaged_share=0.1"
_TEACHER = (_AVERAGED, "teacher={}")
_WITHOUT_IMAGES = ("A", "B")  # arms that use no images without labels

ARMS = {
    "A": Arm("from scratch", _SCRATCH),
    "B": Arm("averaged", (_AVERAGED, "teacher=null")),
    "C": Arm("teacher", _TEACHER, teaches=True, beside=_WITHOUT_IMAGES),
    "D": Arm("pre-trained", _SCRATCH, pretraining=(), beside=_WITHOUT_IMAGES),
    "E": Arm("pre-trained, teacher", _TEACHER, teaches=True, pretraining=(), beside=_WITHOUT_IMAGES),
}


def _pretrained_by(ablation: str, setting: str) -> Arm:
    return Arm("pre-trained", _SCRATCH, pretraining=(setting,), beside=("A",), ablation=ablation)


def _pair(ablation: str, name: str, setting: str, pretraining: tuple[str, ...]) -> dict[str, Arm]:
    """The arms A and D with another network."""
    settings = (*_SCRATCH, setting)
    beside = Arm("from scratch", settings, ablation=ablation)
    started = Arm("pre-trained", settings, pretraining=pretraining, beside=(f"A_{name}",), ablation=ablation)
    return {f"A_{name}": beside, f"D_{name}": started}


ABLATIONS = {
    "D_ratio_50": _pretrained_by("ratio 50 %", "masking.ratio=0.5"),
    "D_ratio_90": _pretrained_by("ratio 90 %", "masking.ratio=0.9"),
    "D_blocks": _pretrained_by("blocks", "masking.kind=block"),
    "D_slabs": _pretrained_by("slabs", "masking.kind=slab"),
    "D_normalised": _pretrained_by("normalised target", "masking.target=normalised"),
    **_pair("depth 3", "depth_3", "network.depth=3", ("network.depth=3",)),
    **_pair("depth 12", "depth_12", "network.depth=12", ("network.depth=12",)),
    **_pair("linear decoder", "linear", "network.decoder=linear", ("network.decoder=linear",)),
}
ALL_ARMS = {**ARMS, **ABLATIONS}
