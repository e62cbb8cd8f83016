"""What is known of the trainers whose checkpoints are judged. There is one: Time-LLM.

Nothing outside this folder knows its keys, file names or formulas; what it is asked for is what `time_llm/__init__.py`
exports, and `resume_point`, `plan` and `schedule_of` of its module `resume_point`. A second trainer is a package with
the same names, and the place where `audit` calls them by that of `time_llm`.
"""

from ckpt_doctor.trainers import time_llm

TRAINERS = (time_llm,)
"""Every trainer whose format is known; the first that recognises a file speaks about it."""
