"""Where data lies."""

from pathlib import Path
from typing import Annotated

from pydantic import Field

Address = Annotated[str, Field(pattern=r"^s3://")]
"""Where data lies in a bucket."""

Data = Annotated[Address | Path, Field(union_mode="left_to_right")]
"""Where data lies. A relative path starts at the recipe's folder."""
