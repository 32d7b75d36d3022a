"""The one exception a user is meant to read."""


class KneeformerError(Exception):
    """A fault the user can mend. Its text names the file, what is wrong with it and what to do.

    The command line prints the text alone, without a traceback, and exits with status 1. Anything
    else that escapes is a bug in kneeformer and keeps its traceback.
    """
