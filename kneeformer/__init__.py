"""kneeformer: self-configuring vision transformers for knee MRI and bone CT."""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from kneeformer.workflows.predict import Predictor as Predictor

__version__ = "0.1.0"


def __getattr__(name: str) -> Any:
    """`kneeformer.Predictor`, imported on first use: torch comes with it."""
    if name == "Predictor":
        from kneeformer.workflows.predict import Predictor

        return Predictor
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
