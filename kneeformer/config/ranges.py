"""The ranges of numbers and names in a plan. They are wide: a value outside is a mistake.

Whether a combination of values fits the machine is checked in kneeformer.engine.memory.
"""

from typing import Annotated, Any, Literal

from pydantic import AfterValidator, Field

from kneeformer.paths import is_plain_name

Count = Annotated[int, Field(ge=1, le=65_536)]
Depth = Annotated[int, Field(ge=1, le=256)]
Steps = Annotated[int, Field(ge=0, le=1_000_000)]
Tokens = Annotated[int, Field(ge=0, le=10_000_000)]
Side = Annotated[int, Field(ge=1, le=16_384)]
Voxels = tuple[Side, Side, Side]
Stride = Annotated[int, Field(ge=1, le=64)]
KernelSide = Annotated[int, Field(ge=1, le=63)]
Axis = Annotated[int, Field(ge=0, le=2)]
PatientAxis = Literal["RL", "AP", "IS"]  # as in kneeformer.geometry.orientation.ENDS

Share = Annotated[float, Field(ge=0, le=1)]
Positive = Annotated[float, Field(ge=1e-6, le=1e9)]
Weight = Annotated[float, Field(ge=0, le=1e6)]
Rate = Annotated[float, Field(gt=0, le=10)]
Millimetres = Annotated[float, Field(ge=0.001, le=1000)]
Angle = Annotated[float, Field(ge=0, le=180)]
Zoom = Annotated[float, Field(ge=0.1, le=10)]
Hounsfield = Annotated[float, Field(ge=-100_000, le=100_000)]


def _plain(name: str) -> str:
    if not is_plain_name(name):
        raise ValueError("must be a name alone: no folder, not hidden, at most 100 characters")
    return name


def _ascending(pair: tuple[float, float]) -> tuple[float, float]:
    if pair[0] > pair[1]:
        raise ValueError(f"{list(pair)} runs backwards: the smaller first")
    return pair


def _each_once(axes: tuple[Any, ...]) -> tuple[Any, ...]:
    if len(set(axes)) < len(axes):
        raise ValueError(f"{list(axes)} names an axis twice")
    return axes


Name = Annotated[str, AfterValidator(_plain)]  # of a folder or a file
ascending, each_once = AfterValidator(_ascending), AfterValidator(_each_once)
