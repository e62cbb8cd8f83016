"""The trainer's own scripts, in three generations: what is reported of each, to the line.

The scripts in `time_llm/` keep the structure of https://github.com/KimMeen/Time-LLM and of the patches to it; the
marks in them are the findings. Those that differ from another one in few lines are made of it.
"""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from ckpt_doctor.lint import lint
from tests.lint.sources import found, marked

TIME_LLM = Path(__file__).parent / "time_llm"
KEPT = """    # del_files(path)  # delete checkpoint files
    accelerator.print("training finished, checkpoints saved at: " + path)
"""
DELETING = {
    "EarlyStopping, adjust_learning_rate,": "EarlyStopping, adjust_learning_rate, del_files,",
    KEPT: '    del_files(path)  # <- X901\n    accelerator.print("success delete checkpoints")\n',
}
"""The pre-training's end: every checkpoint is deleted."""
BEST = """
    best_model_path = path + "/" + "checkpoint"
    accelerator.wait_for_everyone()
    unwrapped_model = accelerator.unwrap_model(model)
    unwrapped_model.load_state_dict(torch.load(best_model_path, map_location=lambda storage, loc: storage))
    unwrapped_model.eval()
"""
LOADING_THE_BEST = {
    "# <- X906 info": "# <- X906",
    f"""
accelerator.wait_for_everyone()
if accelerator.is_local_main_process:
    path = "./checkpoints"  # unique checkpoint saving path
{KEPT}""": BEST,
}
"""The short-term forecasting's end."""
READING_BOTH_FORMATS = {
    "early_stopping(vali_loss, model, path)": "early_stopping(vali_loss, model, model_optim, scheduler, path, "
    "epoch + 1, (epoch + 1) * train_steps)  # <- X904",
    "    unwrapped_model.load_state_dict(torch.load(best_model_path, map_location=lambda storage, loc: storage))\n": (
        '    state = torch.load(best_model_path, map_location="cpu", weights_only=False)\n'
        '    unwrapped_model.load_state_dict(state.get("model", state))\n'
    ),
}
"""The same in the complete trainer."""
MADE = {
    "public/run_pretrain.py": DELETING,
    "public/run_m4.py": LOADING_THE_BEST,
    "first_patch/run_pretrain.py": DELETING,
    "complete/run_m4.py": {**LOADING_THE_BEST, **READING_BOTH_FORMATS},
}
"""Script -> what stands in it in place of what the generation's `run_main.py` has; the complete trainer's is of the
public one."""
SCRIPTS = sorted([*MADE, *(path.relative_to(TIME_LLM).as_posix() for path in TIME_LLM.glob("*/run_*.py"))])


@pytest.fixture(scope="module")
def repositories(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the three generations."""
    folder = tmp_path_factory.mktemp("trainer") / "time_llm"
    shutil.copytree(TIME_LLM, folder, ignore=shutil.ignore_patterns("__pycache__"))
    for name, changes in MADE.items():
        origin = folder / name.replace("complete", "public")
        text = origin.with_name("run_main.py").read_text(encoding="utf-8")
        for old, new in changes.items():
            assert 1 == text.count(old), (name, old)
            text = text.replace(old, new)
        (folder / name).write_text(text, encoding="utf-8")
    return folder


@pytest.mark.parametrize("generation", ["public", "first_patch", "complete"])
def test_a_repository_is_told_what_is_wrong_once_in_the_file_that_holds_it(repositories: Path, generation: str) -> None:
    reports = lint([repositories / generation])
    files = sorted((repositories / generation).rglob("*.py"))
    assert [marked([file]) for file in files] == [found(r.findings) for r in sorted(reports, key=lambda r: r.path)]


@pytest.mark.parametrize("name", SCRIPTS)
def test_a_script_alone_is_told_the_same(repositories: Path, name: str) -> None:
    script = repositories / name
    (report,) = lint([script])
    assert marked([script]) == found(f for f in report.findings if f.path == script)


def test_the_helpers_of_a_script_are_read_with_it(repositories: Path) -> None:
    folder = repositories / "first_patch"
    (report,) = lint([folder / "run_main.py"])
    tools = folder / "utils" / "tools.py"
    assert marked([tools]) == found(f for f in report.findings if f.path == tools)
