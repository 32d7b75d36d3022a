"""Budget of the machine, as far as the planning rules need it."""

from dataclasses import dataclass, replace

import psutil

_FEWEST_TOKENS = 64


@dataclass(frozen=True)
class Budget:
    """The device a plan is made for.

    Attributes:
        device: "cpu", "cuda" or "mps".
        memory_gb: what one training step may take.
        token_limit: tokens a crop may hold, where the device's own limit was too much.
    """

    device: str
    memory_gb: float
    token_limit: int | None = None

    @property
    def is_cpu(self) -> bool:
        return self.device == "cpu"

    @property
    def tokens(self) -> int:
        return self.token_limit or (1024 if self.is_cpu else 4096)

    def with_fewer_tokens(self) -> "Budget | None":
        """The same machine with a quarter fewer tokens a crop; None where no fewer make sense."""
        fewer = self.tokens * 3 // 4
        return None if fewer < _FEWEST_TOKENS else replace(self, token_limit=fewer)


def machine_memory_gb() -> float:
    """Memory of this machine in GiB."""
    return float(psutil.virtual_memory().total) / 2**30
