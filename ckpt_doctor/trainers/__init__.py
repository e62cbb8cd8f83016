"""What is known of the trainers whose checkpoints are judged.

A trainer is a package with five functions: `recognises`, `training_state`, `find_runs`, `infer_facts`, `resume_point`
(and what `audit` calls beside them: `members`, `plan`, `schedule_of`, `read_history`).
"""

from ckpt_doctor.trainers import time_llm

TRAINERS = (time_llm,)
"""Every trainer whose format is known; the first that recognises a file speaks about it."""
