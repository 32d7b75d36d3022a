"""Digest of tensors, as the key of results that are kept for them."""

import hashlib

from torch import Tensor


def digest(said: str, *tensors: Tensor) -> str:
    """Sixteen hexadecimal digits that depend on the text and on the contents of the tensors."""
    found = hashlib.sha256(said.encode())
    for tensor in tensors:
        found.update(tensor.detach().cpu().contiguous().numpy().tobytes())
    return found.hexdigest()[:16]
