"""The only part that changes checkpoints: a new program in, everything else byte for byte as it was, and a way back.

Knows containers, not trainers: what to write, and whether the result is right, comes from the caller.
"""

from ckpt_doctor.writer.cost import cost
from ckpt_doctor.writer.folder import unit_cost, write_unit
from ckpt_doctor.writer.in_place import interrupted
from ckpt_doctor.writer.part_changes import PartChange, part_changes
from ckpt_doctor.writer.recover import came_out, recover
from ckpt_doctor.writer.sidecar import history
from ckpt_doctor.writer.undo import undo, undo_damage
from ckpt_doctor.writer.write import output_path, write
