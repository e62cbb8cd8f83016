"""The parts of the public trainer's helpers that touch files, rates and early stopping."""

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

    def __call__(self, val_loss, model, path):
        score = -val_loss
        if self.best_score is None:
            self.best_score = score
            if self.save_mode:
                self.save_checkpoint(val_loss, model, path)
        elif score < self.best_score + self.delta:
            self.counter += 1
            self.accelerator.print(f"EarlyStopping counter: {self.counter} out of {self.patience}")
            if self.counter >= self.patience:
                self.early_stop = True
        else:
            self.best_score = score
            if self.save_mode:
                self.save_checkpoint(val_loss, model, path)
            self.counter = 0

    def save_checkpoint(self, val_loss, model, path):
        if self.verbose:
            self.accelerator.print(f"Validation loss decreased ({self.val_loss_min:.6f} --> {val_loss:.6f}).")
        if self.accelerator is not None:
            model = self.accelerator.unwrap_model(model)
            torch.save(model.state_dict(), path + "/" + "checkpoint")  # <- X905 info  # <- X907
        else:
            torch.save(model.state_dict(), path + "/" + "checkpoint")  # <- X905 info
        self.val_loss_min = val_loss


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
