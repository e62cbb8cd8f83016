"""Sound checkpoints of other projects, made with the same calls and in the same shape as theirs.

`FILES` maps a name to a function that writes into a folder. Classes of packages that are not installed are stood in
for by classes of the same name, which are importable only while a file is written.
"""

from __future__ import annotations

import copy
import io
import json
import pickle
import sys
import zipfile
from collections import OrderedDict, defaultdict, deque
from collections.abc import Callable
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np
import torch
from torch import nn
from torch.distributed import checkpoint as distributed_checkpoint

from tests.validators.quantized_layouts import LAYOUTS, bitsandbytes_4bit, fp8
from tests.validators.spoiling import PACKAGES, foreign

Writer = Callable[[Path], object]
FILES: dict[str, Writer] = {}


def project(name: str) -> Callable[[Writer], Writer]:
    """Lists a writer under a project's name."""

    def enter(writer: Writer) -> Writer:
        FILES[name] = writer
        return writer

    return enter


def trained(
    make: Callable[[Any], torch.optim.Optimizer] = torch.optim.AdamW, steps: int = 3
) -> tuple[nn.Module, torch.optim.Optimizer]:
    """A small network and its optimizer, a few steps on."""
    model = nn.Sequential(OrderedDict(conv1=nn.Conv2d(3, 4, 3), bn1=nn.BatchNorm2d(4), relu=nn.ReLU(), fc=nn.Flatten()))
    optimizer = make(model.parameters())
    for _ in range(steps):
        optimizer.zero_grad()
        model(torch.randn(2, 3, 6, 6)).square().mean().backward()
        optimizer.step()
    return model, optimizer


def sgd(parameters: Any) -> torch.optim.Optimizer:
    """SGD with momentum."""
    return torch.optim.SGD(parameters, lr=0.1, momentum=0.9, weight_decay=1e-4)


def cosine(optimizer: torch.optim.Optimizer) -> Any:
    """A schedule that Time-LLM's trainer uses, too."""
    scheduler = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, T_max=90)
    optimizer.step()
    scheduler.step()
    return scheduler


def like(module: str, name: str, state: dict[str, Any] | None = None, base: type = object) -> Any:
    """An object of another package's class, with attributes or, for a dict's subclass, items."""
    made = foreign(module, name)
    if base is not object:
        cls = type(name, (base,), {"__module__": module})
        setattr(PACKAGES[module], name, cls)
        return cls(state or {})
    vars(made).update(state or {})
    return made


def save(value: Any, path: Path, **how: Any) -> None:
    """`torch.save` while the packages that are not installed are importable."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with mock.patch.dict(sys.modules, PACKAGES):
        torch.save(value, path, **how)


@project("timm")
def timm(root: Path) -> None:
    """timm's `CheckpointSaver`: arguments in a Namespace, an averaged copy of the model."""
    import argparse

    model, optimizer = trained(sgd)
    value = {
        "epoch": 12,
        "arch": "resnet50",
        "state_dict": model.state_dict(),
        "optimizer": optimizer.state_dict(),
        "version": 2,
        "args": argparse.Namespace(lr=0.1, sched="cosine", resume="", amp=True),
        "amp_scaler": {"scale": 1024.0, "growth_factor": 2.0, "_growth_tracker": 1},
        "state_dict_ema": copy.deepcopy(model.state_dict()),
        "metric": 71.2,
    }
    for name in ("checkpoint-12.pth.tar", "last.pth.tar", "model_best.pth.tar"):
        save(value, root / "output/train/resnet50" / name)


@project("torchvision-detection")
def torchvision(root: Path) -> None:
    """references/detection/train.py: keys of ours, another schedule, the arguments beside them."""
    import argparse

    model, optimizer = trained(sgd)
    scheduler = torch.optim.lr_scheduler.MultiStepLR(optimizer, milestones=[16, 22], gamma=0.1)
    value = {
        "model": model.state_dict(),
        "optimizer": optimizer.state_dict(),
        "lr_scheduler": scheduler.state_dict(),
        "args": argparse.Namespace(epochs=26, lr=0.02),
        "epoch": 25,
        "scaler": {},
    }
    save(value, root / "model_25.pth")
    save(value, root / "checkpoint.pth")


@project("fairseq")
def fairseq(root: Path) -> None:
    """fairseq's `checkpoint_utils.save_state`: everything twice, best at the bottom of `extra_state`."""
    model, optimizer = trained()
    value = {
        "args": None,
        "cfg": like("omegaconf.dictconfig", "DictConfig", {"_content": {"lr": [0.0005]}}),
        "model": model.state_dict(),
        "criterion": {},
        "optimizer_history": [
            {
                "criterion_name": "CrossEntropyCriterion",
                "optimizer_name": "FairseqAdam",
                "lr_scheduler_state": {"best": 3.1},
                "num_updates": 4000,
            }
        ],
        "task_state": {},
        "extra_state": {
            "train_iterator": {"epoch": 3, "iterations_in_epoch": 0, "shuffle": True},
            "val_loss": 3.2,
            "best": 3.1,
            "metrics": [(0, "train", OrderedDict())],
        },
        "last_optimizer_state": optimizer.state_dict(),
    }
    save(value, root / "checkpoints/checkpoint_best.pt")
    save(value, root / "checkpoints/checkpoint_3_4000.pt")


@project("detectron2")
def detectron2(root: Path) -> None:
    """fvcore's `PeriodicCheckpointer`, and its plain text pointer to the last file."""
    model, optimizer = trained(sgd)
    scheduler = like("fvcore.common.param_scheduler", "CompositeParamScheduler", {"_lengths": [0.5, 0.5]})
    value = {
        "model": model.state_dict(),
        "optimizer": optimizer.state_dict(),
        "scheduler": {"base_lrs": [0.02], "last_epoch": 89999, "_step_count": 90000, "_multiplier": scheduler},
        "iteration": 89999,
    }
    save(value, root / "output/model_0089999.pth")
    (root / "output/last_checkpoint").write_text("model_0089999.pth")
    with mock.patch.dict(sys.modules, PACKAGES):
        zoo = {"model": {k: v.numpy() for k, v in model.state_dict().items()}, "__author__": "Detectron2 Model Zoo"}
        (root / "output/model_final_b275ba.pkl").write_bytes(pickle.dumps(zoo, protocol=2))


@project("mmcv")
def mmcv(root: Path) -> None:
    """mmengine's `Runner.save_checkpoint`: a message hub, history buffers, one scheduler per quantity."""
    model, optimizer = trained(sgd)
    buffer = {"_log_history": np.arange(3.0), "_count_history": np.ones(3), "_max_length": 1000000}
    hub = {
        "log_scalars": OrderedDict({"train/loss": like("mmengine.logging.history_buffer", "HistoryBuffer", buffer)}),
        "runtime_info": OrderedDict(epoch=11, iter=87960, best_score=np.float64(0.42)),
        "resumed_keys": {},
    }
    value = {
        "meta": {"epoch": 12, "iter": 87960, "cfg": "model = dict()\n", "seed": 7, "dataset_meta": {"CLASSES": ("a",)}},
        "state_dict": model.state_dict(),
        "message_hub": hub,
        "optimizer": optimizer.state_dict(),
        "param_schedulers": [{"param_name": "lr", "base_values": [0.02], "last_step": 12, "_global_step": 13}],
    }
    save(value, root / "work_dirs/mask_rcnn/epoch_12.pth")


@project("yolo")
def yolo(root: Path) -> None:
    """YOLOv5 and ultralytics: the whole module, pickled."""
    model, optimizer = trained(sgd)
    wrapped = like(
        "models.yolo", "DetectionModel", {"_modules": {"model": model}, "yaml": {"nc": 80}, "training": False}
    )
    value = {
        "epoch": 99,
        "best_fitness": np.array([0.51]),
        "model": wrapped,
        "ema": None,
        "updates": 3000,
        "optimizer": optimizer.state_dict(),
        "opt": {"lr0": 0.01},
        "git": None,
        "date": "2024-05-01T10:00:00",
    }
    save(value, root / "runs/train/exp/weights/best.pt")
    save(value | {"optimizer": None, "epoch": -1}, root / "runs/train/exp/weights/last.pt")
    save(model, root / "runs/whole_model.pt")


@project("nanogpt")
def nanogpt(root: Path) -> None:
    """nanoGPT's ckpt.pt, from a compiled model: keys with `_orig_mod.`, `best_val_loss` a tensor."""
    model, optimizer = trained()
    value = {
        "model": {"_orig_mod." + key: tensor for key, tensor in model.state_dict().items()},
        "optimizer": optimizer.state_dict(),
        "model_args": {"n_layer": 6, "block_size": 256},
        "iter_num": 5000,
        "best_val_loss": torch.tensor(1.47),
        "config": {"learning_rate": 1e-3, "decay_lr": True},
    }
    save(value, root / "out-shakespeare/ckpt.pt")


@project("deepspeed")
def deepspeed(root: Path) -> None:
    """DeepSpeed ZeRO-2: module states, and a shard of flat optimizer state with a loss scaler."""
    model, _ = trained()
    scaler = like("deepspeed.runtime.fp16.loss_scaler", "LossScaler", {"cur_scale": 1.0, "dynamic": False})
    states = {
        "module": model.state_dict(),
        "buffer_names": ["bn1.running_mean"],
        "optimizer": None,
        "param_shapes": [OrderedDict({"conv1.weight": torch.Size([4, 3, 3, 3])})],
        "lr_scheduler": {"last_batch_iteration": 100},
        "sparse_tensor_module_names": set(),
        "skipped_steps": 0,
        "global_steps": 100,
        "global_samples": 3200,
        "dp_world_size": 2,
        "ds_config": {"zero_optimization": {"stage": 2}},
        "ds_version": "0.14.0",
    }
    flat = torch.zeros(64)
    shard = {
        "optimizer_state_dict": {
            "loss_scaler": scaler,
            "dynamic_loss_scale": False,
            "base_optimizer_state": {"state": {0: {"step": 100, "exp_avg": flat, "exp_avg_sq": flat}}},
            "single_partition_of_fp32_groups": [flat],
            "zero_stage": 2,
            "partition_count": [2],
        },
        "ds_version": "0.14.0",
    }
    folder = root / "global_step100"
    save(states, folder / "mp_rank_00_model_states.pt")
    for rank in range(2):
        save(shard, folder / f"bf16_zero_pp_rank_{rank}_mp_rank_00_optim_states.pt")
    (root / "latest").write_text("global_step100")


@project("fsdp-sharded")
def fsdp(root: Path) -> None:
    """torch.distributed.checkpoint, as FSDP uses it: a file of several torch archives in a row, and an index."""
    model, optimizer = trained()
    state = {"model": model.state_dict(), "optim": optimizer.state_dict(), "step": 3}
    distributed_checkpoint.save(state, checkpoint_id=root / "step_3", no_dist=True)


@project("gan")
def gan(root: Path) -> None:
    """Two networks and two optimizers in one file."""
    (g, optimizer_g), (d, optimizer_d) = trained(torch.optim.Adam, 5), trained(torch.optim.Adam, 2)
    value = {
        "generator": g.state_dict(),
        "discriminator": d.state_dict(),
        "optimizer_G": optimizer_g.state_dict(),
        "optimizer_D": optimizer_d.state_dict(),
        "epoch": 5,
        "global_step": 9,
    }
    save(value, root / "gan/checkpoint.pth")


@project("swa")
def swa(root: Path) -> None:
    """Stochastic weight averaging: `module.` on every key of the averaged model, with its counter."""
    model, optimizer = trained(sgd)
    averaged = torch.optim.swa_utils.AveragedModel(model)
    averaged.update_parameters(model)
    value = {
        "model": model.state_dict(),
        "swa_model": averaged.state_dict(),
        "swa_scheduler": torch.optim.swa_utils.SWALR(optimizer, swa_lr=0.05).state_dict(),
        "optimizer": optimizer.state_dict(),
        "epoch": 160,
    }
    save(value, root / "swa/checkpoint-160.pt")
    save(averaged.state_dict(), root / "swa/averaged.pt")


@project("ema")
def ema(root: Path) -> None:
    """torch-ema's shadow parameters in a list, half precision, a step that is ahead of Adam's by one."""
    model, optimizer = trained(steps=4)
    value = {
        "model": model.state_dict(),
        "ema": {"decay": 0.999, "num_updates": 4, "shadow_params": [p.detach().bfloat16() for p in model.parameters()]},
        "optimizer": optimizer.state_dict(),
        "step": 5,
        "epoch": 0,
        "loss": 0.3,
    }
    save(value, root / "ema/model-4.pt")


@project("stable-baselines")
def stable_baselines(root: Path) -> None:
    """stable-baselines3: a zip archive with torch files in it."""
    model, optimizer = trained(torch.optim.Adam)
    root.mkdir(parents=True, exist_ok=True)
    with zipfile.ZipFile(root / "ppo_cartpole.zip", "w") as archive:
        archive.writestr("data", json.dumps({"n_steps": 2048}))
        for name, value in (("policy.pth", model.state_dict()), ("policy.optimizer.pth", optimizer.state_dict())):
            part = io.BytesIO()
            torch.save(value, part)
            archive.writestr(name, part.getvalue())
        archive.writestr("_stable_baselines3_version", "2.3.0")


@project("jax")
def jax(root: Path) -> None:
    """Parameters and optimizer state of a JAX program as numpy arrays in a pickle."""
    tree = {"linear": {"w": np.ones((3, 4), np.float32), "b": np.zeros(4, np.float32)}}
    value = {"params": tree, "opt_state": (np.int32(7), tree), "step": np.int64(7), "rng": np.array([0, 42], np.uint32)}
    root.mkdir(parents=True, exist_ok=True)
    (root / "params.pkl").write_bytes(pickle.dumps(value))


@project("scikit-learn")
def scikit_learn(root: Path) -> None:
    """A fitted estimator as joblib writes it (arrays in the stream), and as pickle does."""
    estimator = like("sklearn.linear_model._base", "LinearRegression", {"coef_": np.arange(3.0), "n_features_in_": 3})
    root.mkdir(parents=True, exist_ok=True)
    with mock.patch.dict(sys.modules, PACKAGES):
        (root / "model.pkl").write_bytes(pickle.dumps(estimator))


@project("optimizer-only")
def optimizer_only(root: Path) -> None:
    """Optimizers saved by themselves, some with state for a part of the parameters only."""
    _, optimizer = trained()
    state = optimizer.state_dict()
    save(state, root / "optim/adam.pt")
    late = copy.deepcopy(state)
    late["state"][0]["step"] = torch.tensor(1.0)
    del late["state"][1]
    save(late, root / "optim/late.pt")
    save(torch.optim.LBFGS([nn.Parameter(torch.zeros(3))]).state_dict(), root / "optim/lbfgs.pt")


@project("partly-frozen")
def partly_frozen(root: Path) -> None:
    """A dict with some of our keys: parameters without state, steps that differ, `step` one more than Adam's."""
    model, optimizer = trained(steps=3)
    state = optimizer.state_dict()
    state["state"][0]["step"] = torch.tensor(1.0)
    del state["state"][3]
    value = {
        "model": model.state_dict(),
        "optimizer": state,
        "scheduler": {"last_epoch": 3, "_last_lr": [1e-3]},
        "epoch": 1,
        "global_step": 4,
    }
    save(value, root / "run/model_latest.pth")


@project("warm-up")
def warm_up(root: Path) -> None:
    """Our five keys with a schedule that we do not build."""
    model, optimizer = trained()
    schedulers = [
        torch.optim.lr_scheduler.LinearLR(optimizer),
        torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, 9),
    ]
    sequential = torch.optim.lr_scheduler.SequentialLR(optimizer, schedulers, milestones=[2]).state_dict()
    for entry in sequential["_schedulers"]:
        entry.pop("_step_count", None)
    value = {
        "model": model.state_dict(),
        "optimizer": optimizer.state_dict(),
        "scheduler": sequential,
        "epoch": 1,
        "global_step": 3,
    }
    save(value, root / "run/checkpoint_100.pth")


@project("no-tensor")
def no_tensor(root: Path) -> None:
    """Metadata only, results, a vocabulary, nothing."""
    save({"epoch": 3, "best_score": 0.7, "history": defaultdict(list, loss=[1.0])}, root / "meta/state.pt")
    save({"metrics": deque([1, 2], maxlen=5), "time": np.datetime64("2024-01-01")}, root / "meta/metrics.pt")
    save({f"word{i}": i for i in range(50)}, root / "meta/vocab.pt")
    save(None, root / "meta/none.pt")
    save([], root / "meta/empty.pt")


@project("old-torch")
def old_torch(root: Path) -> None:
    """The legacy stream of before torch 1.6, with `checkpoint` in its name and a DataParallel model."""
    model, optimizer = trained(sgd)
    value = {
        "epoch": 90,
        "arch": "resnet18",
        "state_dict": {"module." + key: tensor for key, tensor in model.state_dict().items()},
        "best_acc1": torch.tensor(69.7),
        "optimizer": optimizer.state_dict(),
    }
    save(value, root / "imagenet/checkpoint.pth.tar", _use_new_zipfile_serialization=False)


@project("lora")
def lora(root: Path) -> None:
    """PEFT's adapter weights: names that begin with `base_model.model.`."""
    weights = {f"base_model.model.layers.{i}.q_proj.lora_{x}.weight": torch.ones(2, 2) for i in (0, 1) for x in "AB"}
    save(weights, root / "adapter/adapter_model.bin")


@project("quantized")
def quantized(root: Path) -> None:
    """A language model's weights as bitsandbytes, auto_gptq and AutoAWQ save them, alone and below an adapter; fp8."""
    for name, layout in {**LAYOUTS, "fp8": fp8}.items():
        state = {"model.layers.0.mlp.up_proj.weight": torch.zeros(64, 96)}
        layout(state, *state)
        save(state, root / name / "pytorch_model.bin")
    base = {"base_model.model.layers.0.q_proj.base_layer.weight": torch.zeros(64, 96)}
    bitsandbytes_4bit(base, *base, storage=torch.bfloat16)
    adapter = {f"base_model.model.layers.0.q_proj.lora_{x}.default.weight": torch.ones(2, 2) for x in "AB"}
    save(base | adapter, root / "qlora/pytorch_model.bin")
