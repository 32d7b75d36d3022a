"""Numbers in JSON files: frozen, checked when they are read, NaN as null."""

import math
from typing import Annotated

from pydantic import BaseModel, BeforeValidator, ConfigDict

# A float that is null in JSON where it is NaN.
Number = Annotated[float, BeforeValidator(lambda value: math.nan if value is None else value)]


class Record(BaseModel):
    """The content of a file of numbers, or of a part of it."""

    model_config = ConfigDict(frozen=True, extra="forbid", ser_json_inf_nan="null")
