"""Why a model cannot be taken into the registry, or cannot be trained here and now."""


class WrongCheckpoint(Exception):
    """The files are no checkpoint that may be published; the message says which file, why, and what to do."""


class Unfit(Exception):
    """A recipe and its base do not go together; the message names the key and its value, and says what to do."""


class NoRoom(Exception):
    """The disk is full; the message says which one, and that what was saved before is whole."""
