"""X901 deletes-checkpoints and X902 unlocked-prune: which removals are reported, at which line, and which are not."""

from __future__ import annotations

from pathlib import Path

import pytest

from ckpt_doctor.lint import lint
from tests.lint.sources import found, judged, marked, write

HELPER = """
### utils/tools.py
import os
import shutil

def del_files(dir_path):
    shutil.rmtree(dir_path)
"""

DELETED = {
    "by a helper of another module": """
        from utils.tools import del_files
        del_files("./checkpoints")  # <- X901
        """
    + HELPER,
    "by a helper under another name": """
        from utils.tools import del_files as clean
        clean("./checkpoints")  # <- X901
        """
    + HELPER,
    "by a helper of an imported module": """
        import utils.tools
        utils.tools.del_files("./checkpoints")  # <- X901
        """
    + HELPER,
    "by a helper of a module under another name": """
        import utils.tools as t
        t.del_files("./checkpoints")  # <- X901
        """
    + HELPER,
    "by a helper of a module imported from its package": """
        from utils import tools
        tools.del_files("./checkpoints")  # <- X901
        """
    + HELPER,
    "by a helper that a package passes on": """
        from common import del_files
        del_files("./checkpoints")  # <- X901
        ### common/__init__.py
        from .files import *
        ### common/files.py
        import shutil
        def del_files(path):
            shutil.rmtree(path)
        """,
    "by a helper that calls a helper": """
        import shutil
        def remove(path):
            shutil.rmtree(path)
        def clean_up(folder):
            remove(folder)
        clean_up("checkpoints")  # <- X901
        """,
    "by a helper that is not at hand": """
        from tools_of_the_lab import del_files
        del_files("./checkpoints")  # <- X901
        """,
    "in main()": """
        import shutil
        def main():
            train()
            shutil.rmtree("./checkpoints")  # <- X901
        if __name__ == "__main__":
            main()
        """,
    "through a variable": """
        import shutil
        path = "./checkpoints"
        shutil.rmtree(path)  # <- X901
        """,
    "through an option": """
        import argparse, shutil
        parser = argparse.ArgumentParser()
        parser.add_argument("--checkpoints", type=str, default="./checkpoints/")
        args = parser.parse_args()
        shutil.rmtree(args.checkpoints)  # <- X901
        """,
    "through an option with another default": """
        import argparse, shutil
        parser = argparse.ArgumentParser()
        parser.add_argument("--checkpoints", default="out")
        args = parser.parse_args()
        shutil.rmtree(args.checkpoints, ignore_errors=True)  # <- X901
        """,
    "of one run": """
        import os, shutil
        setting = "{}_{}".format(args.model, args.data)
        path = os.path.join(args.checkpoints, setting + "-" + args.model_comment)
        shutil.rmtree(path)  # <- X901
        """,
    "by rmtree under another name": """
        from shutil import rmtree as wipe
        wipe("checkpoints")  # <- X901
        """,
    "by os.system": """
        import os
        os.system("rm -rf ./checkpoints")  # <- X901
        """,
    "by os.system with an f-string": """
        import os
        os.system(f"rm -rf {args.checkpoints}/*")  # <- X901
        """,
    "by subprocess with words": """
        import subprocess
        subprocess.run(["rm", "-rf", "checkpoints"], check=True)  # <- X901
        """,
    "by subprocess with a shell": """
        import subprocess
        subprocess.check_call("cd out && rm -r checkpoints", shell=True)  # <- X901
        """,
    "by pathlib loops": """
        from pathlib import Path
        root = Path("checkpoints")
        for path in root.rglob("*"):
            if path.is_file():
                path.unlink()  # <- X901
        """,
    "by rmdir bottom up": """
        import os
        for root, folders, files in os.walk("./checkpoints", topdown=False):
            for name in files:
                os.remove(os.path.join(root, name))  # <- X901
            for name in folders:
                os.rmdir(os.path.join(root, name))  # <- X901
        """,
    "child by child": """
        import os, shutil
        for name in os.listdir("checkpoints"):
            shutil.rmtree(os.path.join("checkpoints", name))  # <- X901
        """,
    "whole, if it exists": """
        import os, shutil
        if os.path.exists("checkpoints"):
            shutil.rmtree("checkpoints")  # <- X901
        """,
    "by the main process": """
        import shutil
        accelerator.wait_for_everyone()
        if accelerator.is_local_main_process:
            path = "./checkpoints"
            shutil.rmtree(path)  # <- X901
        """,
    "in a method": """
        import shutil
        class Experiment:
            def __init__(self, args):
                self.path = "./checkpoints"
            def train(self):
                shutil.rmtree(self.path)  # <- X901
        """,
    "through a constant of another module": """
        import shutil
        import settings
        shutil.rmtree(settings.CHECKPOINTS)  # <- X901
        ### settings.py
        CHECKPOINTS = "checkpoints"
        """,
    "when the program ends": """
        import atexit, shutil
        atexit.register(shutil.rmtree, "./checkpoints")  # <- X901
        """,
    "unless an option says to keep it is read as wanted, a constant that says so is not": """
        import shutil
        CLEAN = True
        if CLEAN:
            shutil.rmtree("./checkpoints")  # <- X901
        """,
    "a path that is one of two": """
        import shutil
        shutil.rmtree(args.out if args.out else "./checkpoints")  # <- X901
        shutil.rmtree(root or "./checkpoints")  # <- X901
        """,
    "the folder of a checkpoint": """
        import os, shutil
        from pathlib import Path
        best = "checkpoints/best.pt"
        shutil.rmtree(os.path.dirname(best))  # <- X901
        shutil.rmtree(Path(best).parent)  # <- X901
        """,
    "text joined, stripped or resolved": """
        import os, shutil
        from pathlib import Path
        shutil.rmtree("/".join([args.root, "checkpoints"]))  # <- X901
        shutil.rmtree("./checkpoints/".rstrip("/"))  # <- X901
        shutil.rmtree(Path("checkpoints").resolve())  # <- X901
        shutil.rmtree(Path(args.root).joinpath("checkpoints"))  # <- X901
        shutil.rmtree("%s/checkpoints" % args.root)  # <- X901
        """,
    "the environment's value or its default": """
        import os, shutil
        shutil.rmtree(os.environ.get("OUT", "./checkpoints"))  # <- X901
        """,
    "a path that a function makes": """
        import os, shutil
        def run_dir(args):
            return os.path.join(args.root, "checkpoints", args.name)
        shutil.rmtree(run_dir(args))  # <- X901
        """,
    "a path that a function makes of its argument": """
        import os, shutil
        def below(root, name):
            return os.path.join(root, name)
        logs = below(args.root, "logs")
        everything = below(args.root, "checkpoints")
        shutil.rmtree(everything)  # <- X901
        shutil.rmtree(logs)
        """,
    "a constant of another module, by name": """
        import shutil
        from settings import CHECKPOINTS as out
        shutil.rmtree(out)  # <- X901
        ### settings.py
        CHECKPOINTS = "checkpoints"
        """,
    "an attribute of a class": """
        import shutil
        class Config:
            checkpoints = "./ckpts"
        shutil.rmtree(Config.checkpoints)  # <- X901
        """,
    "one of a list of folders": """
        import shutil
        for folder in ["logs", "checkpoints"]:
            shutil.rmtree(folder)  # <- X901
        """,
    "a method of a base class": """
        import shutil
        class Base:
            def clean(self, folder):
                shutil.rmtree(folder)
        class Experiment(Base):
            pass
        Experiment().clean("./checkpoints")  # <- X901
        experiment = Experiment()
        experiment.clean(folder="./checkpoints")  # <- X901
        """,
    "a command in a list": """
        import subprocess
        command = ["sudo", "rm", "-rf", "./checkpoints"]
        subprocess.run(command)  # <- X901
        subprocess.run("touch a; FORCE=1 rm -rf './checkpoints", shell=True)  # <- X901
        """,
    "every element by map": """
        import glob, shutil
        list(map(shutil.rmtree, glob.glob("checkpoints/*")))  # <- X901
        """,
    "a file system object": """
        fs.rm("s3://bucket/checkpoints", recursive=True)  # <- X901
        """,
    "a path's own rmtree": """
        from upath import UPath
        UPath("checkpoints").rmtree()  # <- X901
        """,
    "an option as a dictionary": """
        import shutil
        shutil.rmtree(vars(args)["checkpoints"])  # <- X901
        shutil.rmtree(config["checkpoint_dir"])  # <- X901
        """,
    "an option with its own destination": """
        import argparse, shutil
        parser = argparse.ArgumentParser()
        parser.add_argument("--out", dest="folder", default="./checkpoints")
        args = parser.parse_args()
        shutil.rmtree(args.folder)  # <- X901
        """,
    "a name that changes": """
        import shutil
        path = args.root
        path += "/checkpoints"
        shutil.rmtree(path)  # <- X901
        """,
    "a relative import": """
        from exp import run
        run.main()
        ### exp/__init__.py
        ### exp/run.py
        from .tools import clean
        def main():
            clean("./checkpoints")  # <- X901
        ### exp/tools.py
        import shutil
        def clean(path):
            shutil.rmtree(path)
        """,
}

KEPT = {
    "a comment": """
        from utils.tools import del_files
        # del_files("./checkpoints")
        """
    + HELPER,
    "a string": """
        help = "run shutil.rmtree('./checkpoints') to delete"
        print("rm -rf checkpoints")
        """,
    "an option that is off by default": """
        import argparse, shutil
        parser = argparse.ArgumentParser()
        parser.add_argument("--delete_checkpoints", action="store_true")
        args = parser.parse_args()
        if args.delete_checkpoints:
            shutil.rmtree("./checkpoints")
        """,
    "an option, in a helper": """
        import argparse, shutil
        def finish(args):
            if not args.clean_up:
                return
            shutil.rmtree(args.checkpoints)
        parser = argparse.ArgumentParser()
        parser.add_argument("--clean_up", action="store_true")
        finish(parser.parse_args())
        """,
    "an option, around the call of a helper": """
        from utils.tools import del_files
        if args.cleanup and accelerator.is_main_process:
            del_files("./checkpoints")
        """
    + HELPER,
    "the environment": """
        import os, shutil
        if os.environ.get("DELETE_CHECKPOINTS"):
            shutil.rmtree("./checkpoints")
        """,
    "the environment, through a variable": """
        import os, shutil
        wanted = os.getenv("WIPE", "0") == "1"
        if wanted:
            shutil.rmtree("./checkpoints")
        """,
    "a constant that is false": """
        import shutil
        CLEAN = False
        if CLEAN:
            shutil.rmtree("./checkpoints")
        """,
    "dead code": """
        import shutil
        if False:
            shutil.rmtree("./checkpoints")
        """,
    "a parameter that is off by default": """
        import shutil
        def finish(path="./checkpoints", delete=False):
            if delete:
                shutil.rmtree(path)
        finish()
        """,
    "a question": """
        import shutil
        if input("Delete the checkpoints? ") == "yes":
            shutil.rmtree("./checkpoints")
        """,
    "a helper that removes nothing any more": """
        from utils.tools import del_files
        del_files("./checkpoints")
        ### utils/tools.py
        def del_files(dir_path):
            pass
        """,
    "a helper that nobody calls": """
        import shutil
        def del_files(dir_path):
            shutil.rmtree(dir_path)
        """,
    "a temporary folder": """
        import shutil, tempfile
        checkpoints = tempfile.mkdtemp()
        shutil.rmtree(checkpoints)
        """,
    "a temporary folder below the checkpoints": """
        import os, shutil
        shutil.rmtree(os.path.join(args.checkpoints, "tmp"))
        """,
    "logs": """
        import shutil
        shutil.rmtree("./logs")
        shutil.rmtree(args.log_dir)
        """,
    "results, plots and caches": """
        import os, shutil
        from utils.tools import del_files
        del_files("./results")
        shutil.rmtree("runs/plots")
        os.system("rm -rf ~/.cache/matplotlib")
        """
    + HELPER,
    "a copy is made first": """
        import shutil
        shutil.copytree("./checkpoints", "/drive/checkpoints")
        shutil.rmtree("./checkpoints")
        """,
    "notebook checkpoints": """
        import shutil
        shutil.rmtree(".ipynb_checkpoints", ignore_errors=True)
        """,
    "an element of a list": """
        checkpoints = ["a", "b"]
        checkpoints.remove("a")
        del checkpoints[0]
        """,
    "a method named remove": """
        class Registry:
            def remove(self, checkpoints): self.names.discard(checkpoints)
        Registry().remove("checkpoints")
        """,
    "one damaged file": """
        import os
        os.remove(os.path.join(args.checkpoints, "checkpoint.pt.bad"))
        """,
    "an early exit unless asked for": """
        import shutil, sys
        if not args.wipe:
            sys.exit(0)
        shutil.rmtree("./checkpoints")
        """,
    "an option in one expression": """
        import shutil
        args.wipe and shutil.rmtree("./checkpoints")
        """,
    "a command by its word": """
        import shutil, sys
        match sys.argv[1]:
            case "wipe":
                shutil.rmtree("./checkpoints")
        """,
    "a click command": """
        import click, shutil
        @click.command()
        def wipe():
            shutil.rmtree("./checkpoints")
        """,
    "a temporary folder of a with statement": """
        import shutil, tempfile
        with tempfile.TemporaryDirectory() as checkpoints:
            shutil.rmtree(checkpoints)
        """,
    "a shell command that removes no folder": """
        import os
        os.system("ls checkpoints && rm -f a.log")
        os.system("rm checkpoints/run/tmp.txt")
        """,
    "the inner part of another file system": """
        fs.rm("s3://bucket/checkpoints/a.txt")
        """,
}

PRUNED_WITHOUT_LOCK = {
    "the trainer's save_total_limit": """
        import os, re, shutil
        def prune(path, limit):
            steps = []
            for name in os.listdir(path):
                if name.startswith("checkpoint_step_"):
                    steps.append((int(name.rsplit("_", 1)[-1]), os.path.join(path, name)))
            steps.sort()
            while len(steps) > limit:
                _, oldest = steps.pop(0)
                shutil.rmtree(oldest, ignore_errors=True)  # <- X902
        prune(os.path.join(args.checkpoints, setting), args.save_total_limit)
        """,
    "a slice": """
        import glob, shutil
        for folder in sorted(glob.glob(f"{args.checkpoints}/checkpoint_step_*"))[:-args.save_total_limit]:
            shutil.rmtree(folder)  # <- X902
        """,
    "pathlib": """
        import shutil
        from pathlib import Path
        folders = sorted(Path(run).glob("checkpoint-*"), key=lambda p: int(p.name.split("-")[1]))
        for folder in folders[:-3]:
            shutil.rmtree(folder)  # <- X902
        """,
    "one folder by its number": """
        import os, shutil
        old = os.path.join(args.checkpoints, f"checkpoint_step_{step - 3000}")
        if os.path.isdir(old):
            shutil.rmtree(old)  # <- X902
        """,
    "the shell": """
        import os
        os.system(f"rm -rf {run}/checkpoint_step_{step - 3000}")  # <- X902
        """,
    "a helper": """
        import os
        from utils.tools import del_files
        del_files(os.path.join(args.checkpoints, f"checkpoint_step_{old_step}"))
        ### utils/tools.py
        import shutil
        def del_files(dir_path):
            shutil.rmtree(dir_path)  # <- X902
        """,
    "folders by their number": """
        import re, shutil
        def prune(folder, limit):
            steps = {int(m[1]): p for p in folder.iterdir() if (m := re.fullmatch(r"checkpoint_step_(\\d+)", p.name))}
            for number in sorted(steps)[:-limit]:
                shutil.rmtree(steps[number])  # <- X902
        prune(Path(args.checkpoints, setting), args.save_total_limit)
        """,
    "a lock that nobody takes": """
        import glob, shutil
        from filelock import FileLock
        lock = FileLock("checkpoints/.lock")
        for folder in sorted(glob.glob("checkpoints/run/checkpoint_step_*"))[:-3]:
            shutil.rmtree(folder)  # <- X902
        """,
    "a lock that was released": """
        import glob, shutil
        from filelock import FileLock
        with FileLock("a.lock"):
            folders = sorted(glob.glob("checkpoints/run/checkpoint_step_*"))
        for folder in folders[:-3]:
            shutil.rmtree(folder)  # <- X902
        """,
    "filter": """
        import os, shutil
        old = filter(lambda name: name.startswith("checkpoint_step_"), os.listdir(run))
        for name in old:
            shutil.rmtree(os.path.join(run, name))  # <- X902
        """,
    "a list that a function makes": """
        import glob, shutil
        def old_ones(run, keep):
            return sorted(glob.glob(run + "/checkpoint_step_*"))[:-keep]
        for folder in old_ones(args.checkpoints, 3):
            shutil.rmtree(folder)  # <- X902
        """,
    "a list that a function is given": """
        import glob, shutil
        def remove(folders):
            for folder in folders:
                shutil.rmtree(folder)  # <- X902
        remove(glob.glob("checkpoints/run/checkpoint_step_*")[3:])
        """,
    "os.scandir": """
        import os, shutil
        entries = [e for e in os.scandir(run) if e.is_dir() and e.name.startswith("checkpoint_step_")]
        entries.sort(key=lambda e: e.stat().st_mtime)
        for entry in entries[:-3]:
            shutil.rmtree(entry.path)  # <- X902
        """,
    "the oldest by min": """
        import glob, os, shutil
        folders = glob.glob("checkpoints/run/checkpoint_step_*")
        shutil.rmtree(min(folders, key=os.path.getmtime))  # <- X902
        """,
    "the oldest off a heap": """
        import heapq, shutil
        saved = []
        for step in range(100):
            heapq.heappush(saved, f"checkpoint_step_{step}")
            saved.append(f"checkpoints/checkpoint_step_{step}")
            if len(saved) > 3:
                shutil.rmtree(saved.pop(0))  # <- X902
        """,
    "in a function that nothing here calls": """
        import glob, os, re, shutil
        def prune(save_dir, keep):
            for folder in sorted(glob.glob(os.path.join(save_dir, "checkpoint_step_*")))[:-keep]:
                shutil.rmtree(folder)  # <- X902
        def rotate(run, limit):
            steps = []
            for name in os.listdir(run):
                if found := re.match(r"checkpoint_step_(\\d+)$", name):
                    steps.append((int(found[1]), os.path.join(run, name)))
            for _, path in sorted(steps)[:-limit]:
                shutil.rmtree(path)  # <- X902
        def remove_step(ckpt_dir, step):
            shutil.rmtree(f"{ckpt_dir}/step_{step}")  # <- X902
        def oldest_first(checkpoint_dir, keep):
            for name in sorted(os.listdir(checkpoint_dir))[:-keep]:
                shutil.rmtree(os.path.join(checkpoint_dir, name))  # <- X902
        """,
}

PRUNED_SAFELY = {
    "what the caller names": """
        import os, shutil
        def del_files(dir_path):
            shutil.rmtree(dir_path)
        def remove(checkpoint_path):
            if os.path.exists(checkpoint_path):
                shutil.rmtree(checkpoint_path)
        def start_anew(checkpoint_dir):
            shutil.rmtree(checkpoint_dir)
            os.makedirs(checkpoint_dir)
        def remove_one(step_dir, checkpoints=None):
            shutil.rmtree(step_dir)
        """,
    "a function that nothing here calls, with a lock, on a temporary, of plots, of files": """
        import glob, os, shutil
        from filelock import FileLock
        def prune(save_dir, keep):
            with FileLock(os.path.join(save_dir, ".lock")):
                for folder in sorted(glob.glob(os.path.join(save_dir, "checkpoint_step_*")))[:-keep]:
                    shutil.rmtree(folder)
        def forget_half(save_dir, step):
            shutil.rmtree(os.path.join(save_dir, f"checkpoint_step_{step}.tmp"))
        def tidy(folder, keep):
            for path in sorted(glob.glob(os.path.join(folder, "plots/step_*")))[:-keep]:
                shutil.rmtree(path)
        def rotate(save_dir, keep):
            for path in sorted(glob.glob(os.path.join(save_dir, "checkpoint_*.pt")))[:-keep]:
                os.remove(path)
        """,
    "filelock": """
        import glob, shutil
        from filelock import FileLock
        with FileLock("checkpoints/.lock"):
            for folder in sorted(glob.glob("checkpoints/run/checkpoint_step_*"))[:-3]:
                shutil.rmtree(folder)
        """,
    "filelock in a variable": """
        import glob, shutil
        from filelock import FileLock
        guard = FileLock("checkpoints/.lock")
        with guard:
            for folder in sorted(glob.glob("checkpoints/run/checkpoint_step_*"))[:-3]:
                shutil.rmtree(folder)
        """,
    "fcntl": """
        import fcntl, glob, shutil
        with open("checkpoints/.lock", "w") as handle:
            fcntl.flock(handle, fcntl.LOCK_EX)
            for folder in sorted(glob.glob("checkpoints/run/checkpoint_step_*"))[:-3]:
                shutil.rmtree(folder)
        """,
    "acquire and release": """
        import glob, shutil
        lock.acquire()
        try:
            for folder in sorted(glob.glob("checkpoints/run/checkpoint_step_*"))[:-3]:
                shutil.rmtree(folder)
        finally:
            lock.release()
        """,
    "the caller's lock": """
        import glob, shutil
        def prune(run, keep):
            for folder in sorted(glob.glob(run + "/checkpoint_step_*"))[:-keep]:
                shutil.rmtree(folder)
        with run_lock(args.checkpoints):
            prune(args.checkpoints, 3)
        """,
    "a decorator": """
        import glob, shutil
        @with_lock
        def prune(run, keep):
            for folder in sorted(glob.glob(run + "/checkpoint_step_*"))[:-keep]:
                shutil.rmtree(folder)
        prune(args.checkpoints, 3)
        """,
    "ckpt_doctor": """
        import ckpt_doctor
        ckpt_doctor.prune(args.checkpoints, keep=3)
        """,
    "other folders by step": """
        import glob, shutil
        for folder in sorted(glob.glob("plots/step_*"))[:-3]:
            shutil.rmtree(folder)
        """,
    "its own temporary": """
        import os, shutil
        tmp = os.path.join(args.checkpoints, f"checkpoint_step_{step}.tmp")
        shutil.rmtree(tmp, ignore_errors=True)
        """,
    "renamed first": """
        import glob, os, shutil
        from pathlib import Path
        for folder in sorted(glob.glob("checkpoints/run/checkpoint_step_*"))[:-3]:
            gone = folder + ".gone"
            os.rename(folder, gone)
            shutil.rmtree(gone)
        for folder in sorted(Path("checkpoints/run").glob("checkpoint_step_*"))[:-3]:
            leaving = folder.with_name("leaving_" + folder.name)
            folder.rename(leaving)
            shutil.rmtree(leaving)
        """,
}


test_a_tree_of_checkpoints_that_is_deleted_is_reported_where_its_path_is_written = judged(DELETED)
test_what_keeps_the_checkpoints_or_was_chosen_is_not_reported = judged(KEPT)
test_step_folders_removed_without_a_lock_are_reported_at_the_removal = judged(PRUNED_WITHOUT_LOCK)
test_step_folders_removed_under_a_lock_are_not_reported = judged(PRUNED_SAFELY)


HELPERS = """
    ### utils/tools.py
    import glob, shutil
    def rotate(run, keep):
        for folder in sorted(glob.glob(run + "/checkpoint_step_*"))[:-keep]:
            shutil.rmtree(folder){mark}
    def prune(run, keep):
        rotate(run, keep)
"""


@pytest.mark.parametrize("lock", ["with run_lock(args.checkpoints):", "if accelerator.is_main_process:"])
def test_a_script_that_calls_a_helper_decides_for_it(tmp_path: Path, lock: str) -> None:
    """Linted alone the helper has no lock in sight; beside a script that holds one it is right."""
    mark = "" if "lock" in lock else "  # <- X902"
    text = f"""
    from utils.tools import prune
    {lock}
        prune(args.checkpoints, 3)
    """
    paths = write(tmp_path, text + HELPERS.format(mark=mark))
    assert marked(paths) == found(f for report in lint([tmp_path]) for f in report.findings)
    assert ["tools.py:4 X902"] == found(lint(paths[1:])[0].findings)
