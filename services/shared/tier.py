"""The names of the service classes in JSON, in the order of their rank.

`classes.py` has the classes themselves. This file imports nothing, so that commands which only name a class start soon.
"""

from typing import Literal

Tier = Literal["priority", "default", "flex", "batch"]
