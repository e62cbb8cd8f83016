"""The parts of the first patch's helpers that touch files, rates and early stopping."""

import os
import re
import shutil

import numpy as np
import torch


def adjust_learning_rate(accelerator, optimizer, scheduler, epoch, args, printout=True):
    if args.lradj == "type1":
        lr_adjust = {epoch: args.learning_rate * (0.5 ** ((epoch - 1) // 1))}
    elif args.lradj == "type3":
        lr_adjust = {epoch: args.learning_rate if epoch < 3 else args.learning_rate * (0.9 ** ((epoch - 3) // 1))}
    elif args.lradj == "TST":
        lr_adjust = {epoch: scheduler.get_last_lr()[0]}
    else:
        lr_adjust = {epoch: args.learning_rate}
    if epoch in lr_adjust:
        lr = lr_adjust[epoch]
        for param_group in optimizer.param_groups:
            param_group["lr"] = lr
        if printout:
            accelerator.print(f"Updating learning rate to {lr}")


class EarlyStopping:
    def __init__(self, accelerator=None, patience=7, verbose=False, delta=0, save_mode=True):
        self.accelerator = accelerator
        self.patience = patience
        self.verbose = verbose
        self.counter = 0
        self.best_score = None
        self.early_stop = False
        self.val_loss_min = np.inf
        self.delta = delta
        self.save_mode = save_mode

    def __call__(self, val_loss, model, optimizer, scheduler, path, epoch, global_step):
        score = -val_loss
        if self.best_score is None:
            self.best_score = score
            if self.save_mode:
                self.save_checkpoint(val_loss, model, optimizer, scheduler, path, epoch, global_step)
        elif score < self.best_score + self.delta:
            self.counter += 1
            self.accelerator.print(f"EarlyStopping counter: {self.counter} out of {self.patience}")
            if self.counter >= self.patience:
                self.early_stop = True
        else:
            self.best_score = score
            if self.save_mode:
                self.save_checkpoint(val_loss, model, optimizer, scheduler, path, epoch, global_step)
            self.counter = 0

    def save_checkpoint(self, val_loss, model, optimizer, scheduler, path, epoch, global_step):
        if self.verbose:
            self.accelerator.print(f"Validation loss decreased ({self.val_loss_min:.6f} --> {val_loss:.6f}).")
        state = {  # <- X903
            "model": self.accelerator.unwrap_model(model).state_dict(),
            "optimizer": optimizer.state_dict(),
            "scheduler": scheduler.state_dict(),
            "epoch": epoch,
            "global_step": global_step,
        }
        torch.save(state, path + "/" + "checkpoint")  # <- X905  # <- X907
        self.val_loss_min = val_loss


def prune_step_checkpoints(path, limit):
    if limit <= 0:
        return
    steps = []
    for name in os.listdir(path):
        match = re.match(r"checkpoint_step_(\d+)$", name)
        if match:
            steps.append((int(match.group(1)), os.path.join(path, name)))
    steps.sort()
    while len(steps) > limit:
        _, oldest = steps.pop(0)
        shutil.rmtree(oldest, ignore_errors=True)  # <- X902


def save_step_checkpoint(accelerator, model, optimizer, scheduler, path, epoch, global_step, limit):
    step_dir = os.path.join(path, f"checkpoint_step_{global_step}")
    state = {  # <- X903
        "model": accelerator.unwrap_model(model).state_dict(),
        "optimizer": optimizer.state_dict(),
        "scheduler": scheduler.state_dict(),
        "epoch": epoch,
        "global_step": global_step,
    }
    if accelerator.is_main_process:
        os.makedirs(step_dir, exist_ok=True)
        torch.save(state, os.path.join(step_dir, "checkpoint.pt"))
        accelerator.print(f"Saved step checkpoint: {step_dir}")
        prune_step_checkpoints(path, limit)


def del_files(dir_path):
    shutil.rmtree(dir_path)


def vali(args, accelerator, model, vali_loader, criterion):
    total_loss = []
    model.eval()
    with torch.no_grad():
        for batch_x, batch_y in vali_loader:
            outputs, batch_y = accelerator.gather_for_metrics((model(batch_x), batch_y))
            total_loss.append(criterion(outputs, batch_y).item())
    model.train()
    return np.average(total_loss)
