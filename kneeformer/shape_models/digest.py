"""Digest of tensors, under which what is found for them is kept."""

import hashlib

from torch import Tensor


def digest(said: str, *tensors: Tensor) -> str:
    """Sixteen hexadecimal digits that another text or another content of the tensors would change."""
    found = hashlib.sha256(said.encode())
    for tensor in tensors:
        found.update(tensor.detach().cpu().contiguous().numpy().tobytes())
    return found.hexdigest()[:16]
