"""A plain loop with dropout and shuffling: with each optimizer, compiled, with a gradient scaler, on several ranks."""

import argparse
import os

import torch
from digest import show
from torch import distributed, nn
from torch.utils.data import DataLoader, DistributedSampler, TensorDataset

parser = argparse.ArgumentParser()
parser.add_argument("--optimizer", default="foreach")
parser.add_argument("--steps", type=int, default=200)
parser.add_argument("--compile", default="")
parser.add_argument("--scaler", action="store_true")
parser.add_argument("--resume")
parser.add_argument("--save-every", type=int, default=20)
args = parser.parse_args()

torch.manual_seed(0)
torch.set_num_threads(1)
ranks = int(os.environ.get("WORLD_SIZE", 1))
if ranks > 1:
    distributed.init_process_group("gloo")
core = nn.Sequential(nn.Linear(4, 16), nn.Dropout(0.2), nn.ReLU(), nn.Linear(16, 1))
model = nn.parallel.DistributedDataParallel(core) if ranks > 1 else core
model = torch.compile(model, backend=args.compile) if args.compile else model
if args.optimizer == "sgd":
    optimizer = torch.optim.SGD(core.parameters(), lr=0.01, momentum=0.9)
else:
    optimizer = torch.optim.AdamW(core.parameters(), lr=0.01, **{args.optimizer: True})
schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, 0.01, total_steps=args.steps + 1)
scaler = torch.amp.GradScaler("cpu", init_scale=2.0**127, growth_interval=20, enabled=args.scaler)
x = torch.linspace(-1, 1, 320).reshape(-1, 4)
data = TensorDataset(x, x.sum(1, keepdim=True))
sampler = DistributedSampler(data) if ranks > 1 else None
loader = DataLoader(data, batch_size=4, shuffle=sampler is None, sampler=sampler)

made, epoch = 0, 0
if args.resume:
    file = torch.load(args.resume)
    core.load_state_dict(file["model"])
    optimizer.load_state_dict(file["optimizer"])
    schedule.load_state_dict(file["scheduler"])
    scaler.load_state_dict(file["scaler"])
    made, epoch = file["global_step"], file["epoch"]
    torch.set_rng_state(file["rng_state"])
while made < args.steps:
    if sampler is not None:
        sampler.set_epoch(epoch)
    for inputs, wanted in loader:
        optimizer.zero_grad()
        scaler.scale(nn.functional.mse_loss(model(inputs), wanted)).backward()
        scaler.step(optimizer)
        scaler.update()
        schedule.step()
        made += 1
    epoch += 1
    if made % args.save_every == 0 and (ranks == 1 or distributed.get_rank() == 0):
        states = {"model": core.state_dict(), "optimizer": optimizer.state_dict(), "scheduler": schedule.state_dict()}
        states |= {"scaler": scaler.state_dict(), "rng_state": torch.get_rng_state()}
        torch.save({**states, "global_step": made, "epoch": epoch}, f"step_{made}.pt")
show(core)
if ranks > 1:
    distributed.destroy_process_group()
