"""kneeformer: self-configuring vision transformers for knee MRI and bone CT."""

__version__ = "0.1.0"
