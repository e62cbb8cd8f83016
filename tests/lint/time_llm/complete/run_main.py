"""Complete trainer: EarlyStopping and the random states are saved and restored."""

import argparse
import os
import random

import numpy as np
import torch
from accelerate import Accelerator, DistributedDataParallelKwargs
from data_provider.data_factory import data_provider
from models import Autoformer, DLinear, TimeLLM
from torch import nn, optim
from torch.optim import lr_scheduler
from tqdm import tqdm
from utils.tools import EarlyStopping, adjust_learning_rate, prune_step_checkpoints, training_state, vali

parser = argparse.ArgumentParser(description="Time-LLM")
parser.add_argument("--model_id", type=str, default="test")
parser.add_argument("--model_comment", type=str, default="none")
parser.add_argument("--model", type=str, default="Autoformer")
parser.add_argument("--data", type=str, default="ETTm1")
parser.add_argument("--checkpoints", type=str, default="./checkpoints/")
parser.add_argument("--itr", type=int, default=1)
parser.add_argument("--train_epochs", type=int, default=10)
parser.add_argument("--patience", type=int, default=10)
parser.add_argument("--learning_rate", type=float, default=0.0001)
parser.add_argument("--lradj", type=str, default="type1")
parser.add_argument("--pct_start", type=float, default=0.2)
parser.add_argument("--use_amp", action="store_true", default=False)
parser.add_argument("--save_steps", type=int, default=0)
parser.add_argument("--save_total_limit", type=int, default=0)
parser.add_argument("--resume_from_checkpoint", type=str, default="")
parser.add_argument("--resume_counter", type=int, default=-1)
args = parser.parse_args()
accelerator = Accelerator(kwargs_handlers=[DistributedDataParallelKwargs(find_unused_parameters=True)])

for ii in range(args.itr):
    setting = "{}_{}_{}_{}".format(args.model_id, args.model, args.data, ii)  # noqa: UP032
    train_data, train_loader = data_provider(args, "train")
    vali_data, vali_loader = data_provider(args, "val")
    if args.model == "Autoformer":
        model = Autoformer.Model(args).float()
    elif args.model == "DLinear":
        model = DLinear.Model(args).float()
    else:
        model = TimeLLM.Model(args).float()

    path = os.path.join(args.checkpoints, setting + "-" + args.model_comment)
    if not os.path.exists(path) and accelerator.is_local_main_process:
        os.makedirs(path)

    train_steps = len(train_loader)
    early_stopping = EarlyStopping(accelerator=accelerator, patience=args.patience)
    trained_parameters = [p for p in model.parameters() if p.requires_grad is True]
    model_optim = optim.Adam(trained_parameters, lr=args.learning_rate)
    if args.lradj == "COS":
        scheduler = lr_scheduler.CosineAnnealingLR(model_optim, T_max=20, eta_min=1e-8)
    else:
        scheduler = lr_scheduler.OneCycleLR(
            optimizer=model_optim,
            steps_per_epoch=train_steps,
            pct_start=args.pct_start,
            epochs=args.train_epochs,
            max_lr=args.learning_rate,
        )
    criterion = nn.MSELoss()
    train_loader, vali_loader, model, model_optim, scheduler = accelerator.prepare(
        train_loader, vali_loader, model, model_optim, scheduler
    )
    if args.use_amp:
        scaler = torch.cuda.amp.GradScaler()

    start_epoch, global_step, resume_step_in_epoch = 0, 0, 0
    if args.resume_from_checkpoint:
        checkpoint_file = args.resume_from_checkpoint
        if os.path.isdir(checkpoint_file):
            names = ("checkpoint.pt", "checkpoint")
            checkpoint_file = next(f for n in names if os.path.exists(f := os.path.join(checkpoint_file, n)))
        accelerator.print(f"Loading checkpoint: {checkpoint_file}")
        ckpt = torch.load(checkpoint_file, map_location="cpu", weights_only=False)
        accelerator.unwrap_model(model).load_state_dict(ckpt["model"])
        model_optim.load_state_dict(ckpt["optimizer"])
        scheduler.load_state_dict(ckpt["scheduler"])
        global_step = ckpt["global_step"]
        expected_epoch = global_step // train_steps
        start_epoch = max(ckpt["epoch"], expected_epoch)
        resume_step_in_epoch = 0 if start_epoch > expected_epoch else global_step % train_steps
        early_stopping.best_score = ckpt.get("best_score")
        early_stopping.val_loss_min = ckpt.get("val_loss_min", float("inf"))
        early_stopping.counter = args.resume_counter if args.resume_counter >= 0 else ckpt.get("counter", 0)
        if ckpt.get("rng_state") is not None:
            random.setstate(ckpt["rng_state"]["python"])
            np.random.set_state(ckpt["rng_state"]["numpy"])
            torch.set_rng_state(ckpt["rng_state"]["torch"])
        if args.use_amp and ckpt.get("scaler") is not None:
            scaler.load_state_dict(ckpt["scaler"])
        accelerator.print(f"Resumed at epoch {start_epoch}, global_step {global_step}")

    for epoch in range(start_epoch, args.train_epochs):
        model.train()
        for i, (batch_x, batch_y) in tqdm(enumerate(train_loader)):
            if epoch == start_epoch and i < resume_step_in_epoch:
                continue
            model_optim.zero_grad()
            loss = criterion(model(batch_x), batch_y)
            if (i + 1) % 100 == 0:
                accelerator.print(f"\titers: {i + 1}, epoch: {epoch + 1} | loss: {loss.item():.7f}")
            if args.use_amp:
                scaler.scale(loss).backward()
                scaler.step(model_optim)
                scaler.update()
            else:
                accelerator.backward(loss)
                model_optim.step()
            global_step += 1
            if args.save_steps and global_step % args.save_steps == 0:
                step_dir = os.path.join(path, f"checkpoint_step_{global_step}")
                state = training_state(accelerator, model, model_optim, scheduler, epoch, global_step, early_stopping)
                state["scaler"] = scaler.state_dict() if args.use_amp else None
                if accelerator.is_main_process:
                    os.makedirs(step_dir, exist_ok=True)
                    torch.save(state, os.path.join(step_dir, "checkpoint.pt"))  # <- X904
                    accelerator.print(f"Saved step checkpoint: {step_dir}")
                    prune_step_checkpoints(path, args.save_total_limit)
            if args.lradj == "TST":
                adjust_learning_rate(accelerator, model_optim, scheduler, epoch + 1, args, printout=False)
                scheduler.step()

        vali_loss = vali(args, accelerator, model, vali_loader, criterion)
        early_stopping(vali_loss, model, model_optim, scheduler, path, epoch + 1, global_step)  # <- X904
        if early_stopping.early_stop:
            accelerator.print("Early stopping")
            break

        if args.lradj != "TST":
            if args.lradj == "COS":
                scheduler.step()
                accelerator.print("lr = {:.10f}".format(model_optim.param_groups[0]["lr"]))
            else:
                if epoch == 0:
                    args.learning_rate = model_optim.param_groups[0]["lr"]  # <- X906
                    accelerator.print("lr = {:.10f}".format(model_optim.param_groups[0]["lr"]))
                adjust_learning_rate(accelerator, model_optim, scheduler, epoch + 1, args, printout=True)
        else:
            accelerator.print(f"Updating learning rate to {scheduler.get_last_lr()[0]}")

accelerator.wait_for_everyone()
if accelerator.is_local_main_process:
    path = "./checkpoints"  # unique checkpoint saving path
    # del_files(path)  # delete checkpoint files
    accelerator.print("training finished, checkpoints saved at: " + path)
