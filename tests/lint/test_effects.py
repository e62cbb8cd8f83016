"""Calls that matter to checkpoints: what removes files, what saves, what loads."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.lint.sources import cases, expected_and_actual

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


@pytest.mark.parametrize(**cases(REMOVALS))
def test_a_script_of_this_style(tmp_path: Path, text: str) -> None:
    expected, actual = expected_and_actual(tmp_path, text)
    assert expected == actual
