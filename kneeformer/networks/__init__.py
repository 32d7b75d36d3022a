"""The vision transformer and its parts: tensors in, tensors out."""
