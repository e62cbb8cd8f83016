"""Which parts a resume needs, and which of them a checkpoint lacks, on purpose or not."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from click.testing import CliRunner
from torch.distributed.checkpoint import save

from ckpt_doctor import latest, scan
from ckpt_doctor.cli.main import app
from ckpt_doctor.trainers.hf_trainer import parts
from ckpt_doctor.types import Checkpoint, Damage
from tests.trainers.hf_trainer.runs import change_state, judged, random_states, remove, told, two_processes
from tests.trainers.hf_trainer.values import RUN, command, unit


def spoiled_random_state(folder: Path, name: str, key: str) -> None:
    states = torch.load(folder / name, weights_only=False)
    del states[key]
    torch.save(states, folder / name)


@pytest.mark.parametrize("key", ["python", "numpy", "cpu"])
def test_a_random_state_that_lacks_a_generator_stops_its_process(run: Path, key: str) -> None:
    two_processes(run / "checkpoint-21")
    assert "identical" == judged(run / "checkpoint-21").resume
    spoiled_random_state(run / "checkpoint-21", "rng_state_1.pth", key)
    file = judged(run / "checkpoint-21")
    assert ("impossible", {"L302"}) == (file.resume, told(file))
    torch.save({**random_states(), key: 3}, run / "checkpoint-21/rng_state_1.pth")
    assert {"O707"} == told(judged(run / "checkpoint-21"))


def test_weights_saved_on_purpose_are_a_note_and_stop_the_gate(run: Path) -> None:
    folder = run / "checkpoint-21"
    remove("optimizer.pt", "scheduler.pt", "rng_state.pth")(folder)
    found = next(f for f in scan([run]).files if f.checkpoint.path == folder)
    assert set() == told(found) and {"F114"} == told(found, "info")
    assert "on purpose" in next(f.message for f in found.findings if f.code == "F114")
    assert 1 == CliRunner().invoke(app, ["check", str(folder)]).exit_code
    assert latest(run)[0] == run / "checkpoint-14"


def deepspeed(folder: Path) -> None:
    remove("optimizer.pt", "scheduler.pt")(folder)
    (folder / "global_step21").mkdir()
    torch.save({"module": {}}, folder / "global_step21/mp_rank_00_model_states.pt")
    states = {"optimizer_state_dict": {"zero_stage": 1, "partition_count": 1}}
    torch.save(states, folder / "global_step21/bf16_zero_pp_rank_0_mp_rank_00_optim_states.pt")
    (folder / "latest").write_text("global_step21")


def fsdp(folder: Path) -> None:
    (folder / "optimizer.pt").rename(folder / "optimizer.bin")


def adapter(folder: Path) -> None:
    (folder / "model.safetensors").rename(folder / "adapter_model.safetensors")


def old_names(folder: Path) -> None:
    (folder / "model.safetensors").unlink()
    torch.save({"a.weight": torch.ones(3, 2), "a.bias": torch.ones(3)}, folder / "pytorch_model.bin")
    path = folder / "trainer_state.json"
    state = json.loads(path.read_text())
    path.write_text(json.dumps({k: v for k, v in state.items() if k not in ("best_global_step", "stateful_callbacks")}))


def skipped_steps(folder: Path) -> None:
    """Under fp16: two steps that neither Adam nor the schedule counted."""
    number = int(folder.name.removeprefix("checkpoint-"))
    torch.save(
        {"scale": 1.0, "growth_factor": 2.0, "backoff_factor": 0.5, "growth_interval": 9, "_growth_tracker": 1},
        folder / "scaler.pt",
    )
    change_state(folder, global_step=number + 2, epoch=(number + 2) / 10)
    folder.rename(folder.with_name(f"checkpoint-{number + 2}"))


@pytest.mark.parametrize("form", [deepspeed, fsdp, adapter, old_names, two_processes, skipped_steps])
def test_other_forms_are_no_faults(run: Path, form: Callable[[Path], None]) -> None:
    for folder in list(run.iterdir()):
        if form is not deepspeed or folder.name == "checkpoint-21":
            form(folder)
    report = scan([run])
    assert [] == [(f.code, f.message) for f in report.findings if f.severity != "info"]
    assert {"hf"} == {f.trainer for f in report.files}
    assert "F114" not in {f.code for f in report.findings}


def test_a_missing_folder_of_shards_is_named_once(run: Path) -> None:
    """FSDP's model, which the optimizer's folder beside it calls for."""
    folder = run / "checkpoint-21"
    for name in ("model.safetensors", "optimizer.pt"):
        (folder / name).unlink()
    save({"step": torch.tensor(21)}, checkpoint_id=folder / "optimizer_0", no_dist=True)
    assert ["pytorch_model_fsdp_0"] == [f.where for f in judged(folder).findings if f.code == "F114"]


def test_a_process_without_random_state_is_told(run: Path) -> None:
    for folder in run.iterdir():
        two_processes(folder)
    (run / "checkpoint-21/rng_state_1.pth").unlink()
    assert [("L306", "info")] == [(f.code, f.severity) for f in scan([run]).findings]
    assert ["identical", "differs"] == [judged(run / f"checkpoint-{step}").resume for step in (14, 21)]


WHOLE = ("model.safetensors", "optimizer.pt", "scheduler.pt", "trainer_state.json", "rng_state.pth")


def test_what_is_missing_is_named_in_the_order_in_which_it_is_written() -> None:
    assert [] == parts.missing(unit(files=WHOLE))
    assert ["the model", "optimizer.pt", "scheduler.pt", "trainer_state.json"] == parts.missing(unit(files=WHOLE[4:]))
    assert ["scheduler.pt"] == parts.missing(unit(files=tuple(name for name in WHOLE if name != "scheduler.pt")))


def test_weights_alone_are_on_purpose_where_the_state_came_last_or_the_command_says_so() -> None:
    """A save that was cut off has no state, or still a random state beside it."""
    assert parts.is_weights_only(unit(files=("model.safetensors", "trainer_state.json")))
    assert not parts.is_weights_only(unit(files=("model.safetensors", "trainer_state.json", "rng_state.pth")))
    assert not parts.is_weights_only(unit(files=("model.safetensors",)))
    assert parts.is_weights_only(unit(files=("model.safetensors",), arguments=command(save_only_model=True)))
    assert not parts.is_weights_only(unit(files=WHOLE, arguments=command(save_only_model=True)))


def test_a_part_is_lost_where_it_is_there_and_holds_something_else() -> None:
    def lost(name: str, root: object, damage: tuple[Damage, ...] = ()) -> bool:
        part = Checkpoint(RUN / "checkpoint-14" / name, 0, "json", "other", root, damage=damage)
        return parts.is_lost(replace(unit(), parts=(part,)), name)

    assert not lost("trainer_state.json", {"global_step": 14})
    assert lost("trainer_state.json", {"other": 1})
    assert lost("trainer_state.json", [1])
    assert not lost("scheduler.pt", {"last_epoch": 14})
    assert lost("scheduler.pt", {"last_epoch": 14}, (Damage("truncated-archive", "cut off"),))
    assert lost("scheduler.pt", None)
    assert not parts.is_lost(unit(), "scheduler.pt"), "it is missing, which is another fault"


def test_weights_without_a_tensor_are_not_the_checkpoints(run: Path) -> None:
    folder = run / "checkpoint-21"
    for path in folder.glob("model*"):
        path.unlink()
    torch.save({"lora_A.weight": torch.ones(2, 2)}, folder / "adapter_model.bin")
    assert set() == told(judged(folder))
    torch.save({}, folder / "adapter_model.bin")
    file = judged(folder)
    assert ("impossible", {"L302"}) == (file.resume, told(file))
