"""Learning-rate schedules as pure functions, equal to PyTorch's to the last bit.

- `advanced(state, groups, steps)`: the next steps, from the rates that the optimizer has.
- `along(state, groups, positions)`: the rates at many positions, to draw.
- `moved_to(state, groups, position)`: any position, from the base rates. `moves` names what differs.
- `hf_lambda(name, step=...)`: the factors of transformers' schedules, which no state has.
- `one_cycle*`, `cosine_annealing*`: single classes by their parameters; `progress`: the keys that every state has.

The arithmetic, its order included, is that of `torch/optim/lr_scheduler.py` (torch 2.13), named at each function.
Nothing here needs torch: a scheduler is its `state_dict()`, an optimizer its param groups, both plain mappings.
Values that a schedule cannot work with (a missing key, text for a number, a division by zero that torch would hit as
well) raise `ValueError` with the reason; `None` says that the formula is not known.
"""

from ckpt_doctor.trainers.schedules.cosine_lr import cosine_annealing, cosine_annealing_state, next_cosine
from ckpt_doctor.trainers.schedules.hugging_face import hf_lambda
from ckpt_doctor.trainers.schedules.one_cycle_lr import (
    OneCyclePoint,
    one_cycle,
    one_cycle_group,
    one_cycle_state,
)
from ckpt_doctor.trainers.schedules.stepping import (
    Stepped,
    advanced,
    along,
    has_inner_state,
    inner_moves,
    moved_to,
    moves,
    reached,
)
from ckpt_doctor.trainers.schedules.values import Absent, progress
