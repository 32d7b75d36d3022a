"""The work of each command, as functions of folders and settings."""
