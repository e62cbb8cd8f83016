"""Long-term forecasting, as published, with the deletion at its end commented out."""

import argparse
import os

import torch
from accelerate import Accelerator, DistributedDataParallelKwargs
from data_provider.data_factory import data_provider
from models import Autoformer, DLinear, TimeLLM
from torch import nn, optim
from torch.optim import lr_scheduler
from tqdm import tqdm
from utils.tools import EarlyStopping, adjust_learning_rate, vali

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

    for epoch in range(args.train_epochs):
        model.train()
        for i, (batch_x, batch_y) in tqdm(enumerate(train_loader)):
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
            if args.lradj == "TST":
                adjust_learning_rate(accelerator, model_optim, scheduler, epoch + 1, args, printout=False)
                scheduler.step()

        vali_loss = vali(args, accelerator, model, vali_loader, criterion)
        early_stopping(vali_loss, model, path)
        if early_stopping.early_stop:
            accelerator.print("Early stopping")
            break

        if args.lradj != "TST":
            if args.lradj == "COS":
                scheduler.step()
                accelerator.print("lr = {:.10f}".format(model_optim.param_groups[0]["lr"]))
            else:
                if epoch == 0:
                    args.learning_rate = model_optim.param_groups[0]["lr"]  # <- X906 info
                    accelerator.print("lr = {:.10f}".format(model_optim.param_groups[0]["lr"]))
                adjust_learning_rate(accelerator, model_optim, scheduler, epoch + 1, args, printout=True)
        else:
            accelerator.print(f"Updating learning rate to {scheduler.get_last_lr()[0]}")

accelerator.wait_for_everyone()
if accelerator.is_local_main_process:
    path = "./checkpoints"  # unique checkpoint saving path
    # del_files(path)  # delete checkpoint files
    accelerator.print("training finished, checkpoints saved at: " + path)
