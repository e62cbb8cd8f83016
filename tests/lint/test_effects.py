"""Calls that matter to checkpoints: what removes files, what saves, what loads."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

from ckpt_doctor.lint.effects import is_of_optimizer, is_temporary, loads, removals, saves
from tests.lint.sources import judged, program_of

REMOVALS = {
    "logs inside the folder": """
        import os, shutil
        shutil.rmtree("checkpoints/run1/tensorboard", ignore_errors=True)
        shutil.rmtree(os.path.join(args.checkpoint_dir, "visualizations"), ignore_errors=True)
        """,
    "what only sounds like it": """
        from utils import remove_module_prefix
        from hub import delete_branch
        state = remove_module_prefix("checkpoints/model")
        delete_branch("checkpoints")
        """,
    "what does it by its name": """
        from utils import remove_checkpoints, del_files
        remove_checkpoints("checkpoints")  # <- X901
        del_files("./checkpoints/")  # <- X901
        """,
    "sent elsewhere first": """
        import shutil, subprocess
        subprocess.run(["gsutil", "-m", "cp", "-r", "checkpoints", "gs://bucket/run"], check=True)
        shutil.rmtree("checkpoints")
        """,
    "a folder named by the environment is no question": """
        import os, shutil
        CKPT_DIR = os.environ.get("CKPT_DIR", "./checkpoints")
        if os.path.exists(CKPT_DIR):
            shutil.rmtree(CKPT_DIR)  # <- X901
        """,
    "a main that is raised": """
        from trainer import run
        raise SystemExit(run())
        ### trainer.py
        import shutil
        def run():
            shutil.rmtree("./checkpoints")  # <- X901
        """,
    "a class that is called": """
        from trainer import Trainer
        Trainer().fit()
        ### trainer.py
        import shutil
        class Trainer:
            def fit(self):
                shutil.rmtree("./checkpoints")  # <- X901
        """,
}


def test_what_a_test_has_made_it_may_remove(tmp_path: Path) -> None:
    from ckpt_doctor.lint import lint

    script = tmp_path / "test_ckpt.py"
    script.write_text('import shutil\ndef teardown_module():\n    shutil.rmtree("tests/checkpoints")\n')
    assert () == lint([script])[0].findings


test_a_script_of_this_style = judged(REMOVALS)


IMPORTS = "import os, shutil, subprocess, glob, torch\nfrom pathlib import Path\n"


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("shutil.rmtree('checkpoints')", ["checkpoints -r tree"]),
        ("os.system('rm -rf checkpoints logs')", ["checkpoints -r tree", "logs -r other"]),
        ("subprocess.run(['rm', '-r', args.checkpoints])", ["{args.checkpoints} -r tree"]),
        ("os.system('rm checkpoints/a.pt')", []),
        ("Path('checkpoints/a.pt').unlink()", ["checkpoints/a.pt other"]),
        ("shutil.rmtree('checkpoints/step_3')", ["checkpoints/step_3 -r steps"]),
        ("for f in glob.glob('checkpoint_step_*')[3:]:\n    shutil.rmtree(f)", ["{f} -r steps"]),
        ("shutil.rmtree('/tmp/checkpoints')", ["/tmp/checkpoints -r other"]),
        ("shutil.rmtree('build')", ["build -r other"]),
        ("saved.remove('checkpoints')", []),
    ],
)
def test_what_a_call_removes(tmp_path: Path, text: str, found: list[str]) -> None:
    """A whole tree of checkpoints, single steps of it, or something else."""
    program = program_of(tmp_path, f"{IMPORTS}{text}\n")
    assert found == [f"{r.path} {'-r ' * r.recursive}{r.what}" for r in removals(program)]


@pytest.mark.parametrize(
    ("text", "content", "target"),
    [
        ("torch.save(state, path)", "state", "path"),
        ("torch.save(obj=state, f=path)", "state", "path"),
        ("accelerator.save(state, path)", "state", "path"),
        ("fabric.save(path, state)", "state", "path"),
        ("from torch import save\nsave(state, path)", "state", "path"),
        ("from ckpt_doctor import atomic_save\natomic_save(state, path)", "state", "path"),
        ("image.save(path)", None, None),
        ("np.save(path, state)", None, None),
    ],
)
def test_what_a_call_saves(tmp_path: Path, text: str, content: str | None, target: str | None) -> None:
    found = saves(program_of(tmp_path, f"{IMPORTS}{text}\n"))
    assert [content] * bool(content) == [ast.unparse(save.content) for save in found]
    assert [target] * bool(target) == [ast.unparse(save.target) for save in found if save.target]
    assert ("atomic" in text) == any(save.atomic for save in found)


def test_what_a_call_loads(tmp_path: Path) -> None:
    text = "from torch import load as read\nread(p)\ntorch.load(p)\njson.load(p)\nmodel.load_state_dict(c)\n"
    assert ["read(p)", "torch.load(p)"] == [ast.unparse(c.node) for c in loads(program_of(tmp_path, IMPORTS + text))]


@pytest.mark.parametrize(
    ("call", "is_one"),
    [
        ("optimizer.state_dict()", True),
        ("self.optimizers[0].state_dict()", False),
        ("opt.state_dict()", True),
        ("optG.state_dict()", True),
        ("options.state_dict()", False),
        ("model.state_dict()", False),
        ("optimizer.step()", False),
    ],
)
def test_the_state_of_an_optimizer_is_known_by_its_name(call: str, is_one: bool) -> None:
    node = ast.parse(call, mode="eval").body
    assert isinstance(node, ast.Call) and is_one == is_of_optimizer(node, "state_dict")


def test_a_path_that_calls_itself_temporary(tmp_path: Path) -> None:
    text = "".join(f"os.remove({path})\n" for path in ("'out/a.pt.tmp'", "tmp_path", "'out/a.pt'", "path"))
    assert [True, True, False, False] == [is_temporary(r.path) for r in removals(program_of(tmp_path, IMPORTS + text))]
