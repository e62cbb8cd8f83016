"""Projects whose loops are known by their keys: where they resume, or why no file decides it."""

from __future__ import annotations

import re

from ckpt_doctor.types import Checkpoint, Opaque, mapping_of, real
from ckpt_doctor.types.record import kept

_DETECTRON2 = r"model_(\d{7}|final)\.pth"
BASELINES = "_stable_baselines3_version"
"""stable_baselines3/common/save_util.py, `save_to_zip_file`."""
_TSL_RUN = r"_ft[A-Za-z]+_sl\d+_ll\d+_pl\d+_"


@kept
def family(checkpoint: Checkpoint) -> str:
    """The project whose loop wrote the file, where its keys, and its name, prove it; else empty."""
    keys, root = set(checkpoint.keys), mapping_of(checkpoint.root) or {}
    if {"arch", "version", "state_dict", "optimizer", "epoch"} <= keys:
        return "timm" if checkpoint.get("version") == 2 else ""
    if {"arch", "best_acc1", "state_dict", "optimizer", "epoch"} <= keys:
        return "imagenet"
    if {"args", "lr_scheduler", "model", "optimizer", "epoch"} <= keys:
        return "torchvision" if _is_namespace(root["args"]) else ""
    if {"meta", "state_dict", "message_hub"} <= keys and {"epoch", "iter"} <= (mapping_of(root["meta"]) or {}).keys():
        return "mmengine"
    if {"model", "optimizer", "scheduler", "iteration"} <= keys and re.fullmatch(_DETECTRON2, checkpoint.path.name):
        return "detectron2"
    if checkpoint.get("trainer", "epoch_length") is not None and checkpoint.get("trainer", "iteration") is not None:
        return "ignite"
    if {"step", "model", "opt", "ema", "scaler", "version"} <= keys:
        return "denoising-diffusion-pytorch"
    return ""


def _is_namespace(value: object) -> bool:
    return isinstance(value, Opaque) and str(value.callee) == "argparse.Namespace"


def named(checkpoint: Checkpoint) -> str:
    """What is known of a file of a project whose resume no file decides, in a clause; empty for any other."""
    root, keys = mapping_of(checkpoint.root), set(checkpoint.keys)
    if root is None:
        return ""
    if BASELINES in keys:
        return (
            "an archive of Stable-Baselines3: learn(reset_num_timesteps=False) goes on at its num_timesteps, from a "
            "new episode; the random states are not in it, nor is a replay buffer"
        )
    if {"iter_num", "model_args", "model", "optimizer"} <= keys:
        return (
            f"nanoGPT's ckpt.pt, which resumes at iter_num {checkpoint.get('iter_num')}; its batches are drawn from "
            "seed 1337 anew after each resume"
        )
    if {"ema", "epoch"} <= keys and keys & {"train_args", "best_fitness", "updates"}:
        if checkpoint.get("epoch") == -1 or checkpoint.get("optimizer") is None:
            return "a finished and stripped file of Ultralytics (no optimizer): there is nothing to resume"
        return (
            f"a file of Ultralytics, which resumes at epoch {(real(checkpoint.get('epoch')) or 0) + 1:.0f} from the "
            "half-precision average of the weights: close to the run, never identical"
        )
    inside = checkpoint.layout == "state-dict" and checkpoint.path.name == "checkpoint.pth"
    if inside and re.search(_TSL_RUN, checkpoint.path.absolute().parent.name):
        return "the best weights of Time-Series-Library, which has no code to resume; weights only"
    return ""
