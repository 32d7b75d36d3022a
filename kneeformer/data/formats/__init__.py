"""Image files: one module per format, and one registry of them by file ending."""
