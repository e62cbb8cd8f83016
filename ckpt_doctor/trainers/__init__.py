"""What is known of the trainers whose checkpoints are judged. There is one: Time-LLM.

Its files, its log, its resume and its formulas are here; what the stages ask of it is what `time_llm/__init__.py`
exports, and `resume_point`, `plan` and `schedule_of` of its module `resume_point`. Rules and migrations of the families
E, L, O, P and R speak of the keys in its checkpoints. A second trainer is a package with the same names beside this one
and rules of its own; `audit` takes the first that recognises a file.
"""

from ckpt_doctor.trainers import time_llm

TRAINERS = (time_llm,)
"""Every trainer whose format is known; the first that recognises a file speaks about it."""
