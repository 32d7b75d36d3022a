"""The machine as the planning rules see it: device, memory, speed and hours."""

from dataclasses import dataclass

import psutil

from kneeformer.errors import KneeformerError

_SPEED = {"cpu": 1.0, "mps": 10.0, "cuda": 100.0}  # typical, until a step is measured
_HOURS = {"cpu": 1.0, "mps": 8.0, "cuda": 24.0}


@dataclass(frozen=True)
class Limits:
    """Limits of a training, as a user sets them; None takes what the machine has, or its device's default.

    Attributes:
        device: "cpu", "cuda" or "mps".
        memory_gb: GiB that a training step may take.
        hours: that a training may take.
    """

    device: str | None = None
    memory_gb: float | None = None
    hours: float | None = None


@dataclass(frozen=True)
class Budget:
    """The device a plan is made for, and the time that a training may take on it.

    Attributes:
        device: "cpu", "cuda" or "mps".
        memory_gb: GiB that a training step may take.
        measured_speed: `speed` by a measured step; None takes that typical of the device.
        hours_given: `hours`; None takes one hour on a CPU, a day on a GPU.
        share: part of the longest step that this network gets.
        bfloat16: whether features are kept in half precision.
    """

    device: str
    memory_gb: float
    measured_speed: float | None = None
    hours_given: float | None = None
    share: float = 1.0
    bfloat16: bool = True

    def __post_init__(self) -> None:
        """Raises KneeformerError: no such device."""
        if self.device not in _SPEED:
            raise KneeformerError(f"device {self.device!r:.80} is not one of {', '.join(_SPEED)}")

    @property
    def is_cpu(self) -> bool:
        return self.device == "cpu"

    @property
    def speed(self) -> float:
        """Speed relative to two CPU cores with bfloat16, the reference of `kneeformer.planning.step_cost`."""
        return self.measured_speed or _SPEED[self.device]

    @property
    def hours(self) -> float:
        return self.hours_given or _HOURS[self.device]

    @property
    def compute(self) -> float:
        """Compute of a whole training, in hours of the two reference cores."""
        return self.hours * self.speed

    @property
    def steps(self) -> int:
        """Steps of a training: 3000 for one hour of the reference cores, growing with the cube root."""
        return round(3000 * float(self.compute ** (1 / 3)))

    @property
    def longest_step(self) -> float:
        """Seconds that a step may take on this machine."""
        return self.share * 3600 * self.hours / self.steps


def machine_memory_gb() -> float:
    """Memory of this machine in GiB."""
    return float(psutil.virtual_memory().total) / 2**30
