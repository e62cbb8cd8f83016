"""Reports -> what to do: per run the checkpoint to resume from, the one command before it, or what is missing."""

from ckpt_doctor.advice.reporting import report
from ckpt_doctor.advice.scanning import check, scan
from ckpt_doctor.advice.selection import find_latest, latest
