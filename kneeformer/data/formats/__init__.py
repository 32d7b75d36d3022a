"""Image files: one module a format, and one registry of them by file ending."""
