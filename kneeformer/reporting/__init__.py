"""Pictures and plots that tasks share."""
