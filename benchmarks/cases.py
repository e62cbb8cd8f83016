"""All cases, in the order of the page."""

from __future__ import annotations

from .far import REMOTE
from .inside import PROFILE, RECORD
from .many_files import FILES, JOBS, RUN, SHARDS
from .one_file import DEEP, SIZE, START, TENSOR_COUNT
from .writing import MIGRATE

CASES = (START, SIZE, TENSOR_COUNT, FILES, SHARDS, RUN, JOBS, REMOTE, DEEP, MIGRATE, RECORD, PROFILE)
