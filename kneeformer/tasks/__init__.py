"""The kinds of job, a folder each; `registry` names them, `base` says what a task is."""
