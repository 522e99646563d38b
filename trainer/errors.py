"""Why a model cannot be taken into the registry."""


class WrongCheckpoint(Exception):
    """The files are no checkpoint that may be published; the message says which file, why, and what to do."""
