"""A loop with Accelerator, which saves and loads its state, on one rank or several."""

import argparse

import torch
from accelerate import Accelerator
from digest import show
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

parser = argparse.ArgumentParser()
parser.add_argument("--epochs", type=int, default=10)
parser.add_argument("--accumulate", type=int, default=1)
parser.add_argument("--resume")
args = parser.parse_args()

torch.manual_seed(0)
torch.set_num_threads(1)
accelerator = Accelerator(cpu=True, gradient_accumulation_steps=args.accumulate)
model = nn.Sequential(nn.Linear(4, 16), nn.Dropout(0.2), nn.ReLU(), nn.Linear(16, 1))
optimizer = torch.optim.AdamW(model.parameters(), lr=0.01)
schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, T_max=1000)
x = torch.linspace(-1, 1, 320).reshape(-1, 4)
loader = DataLoader(TensorDataset(x, x.sum(1, keepdim=True)), batch_size=4, shuffle=True)
model, optimizer, loader, schedule = accelerator.prepare(model, optimizer, loader, schedule)

start = 0
if args.resume:
    accelerator.load_state(args.resume)
    start = int(args.resume.rstrip("/").rpartition("_")[2]) + 1
for epoch in range(start, args.epochs):
    for inputs, wanted in loader:
        with accelerator.accumulate(model):
            accelerator.backward(nn.functional.mse_loss(model(inputs), wanted))
            optimizer.step()
            schedule.step()
            optimizer.zero_grad()
    accelerator.save_state(f"states/epoch_{epoch}")
show(accelerator.unwrap_model(model))
accelerator.end_training()
