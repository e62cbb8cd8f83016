"""A training with Lightning, which resumes by `ckpt_path`."""

import argparse

import lightning.pytorch as pl
import torch
from digest import show
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

parser = argparse.ArgumentParser()
parser.add_argument("--epochs", type=int, default=10)
parser.add_argument("--every", type=int, default=0, help="save every N steps; 0: at each epoch's end")
parser.add_argument("--ckpt_path")
args = parser.parse_args()


class Tiny(pl.LightningModule):
    """Two layers with dropout between them."""

    def __init__(self):
        super().__init__()
        self.layers = nn.Sequential(nn.Linear(4, 16), nn.Dropout(0.2), nn.ReLU(), nn.Linear(16, 1))

    def training_step(self, batch):
        return nn.functional.mse_loss(self.layers(batch[0]), batch[1])

    def configure_optimizers(self):
        optimizer = torch.optim.AdamW(self.parameters(), lr=0.01)
        schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, T_max=1000)
        return [optimizer], [{"scheduler": schedule, "interval": "step"}]


torch.set_num_threads(1)
pl.seed_everything(1)
x = torch.linspace(-1, 1, 320).reshape(-1, 4)
loader = DataLoader(TensorDataset(x, x.sum(1, keepdim=True)), batch_size=4, shuffle=True)
when = {"every_n_train_steps": args.every} if args.every else {"every_n_epochs": 1}
saver = pl.callbacks.ModelCheckpoint("files", save_top_k=-1, **when)
trainer = pl.Trainer(
    max_epochs=args.epochs, accelerator="cpu", callbacks=[saver], logger=False, enable_progress_bar=False
)
module = Tiny()
trainer.fit(module, loader, ckpt_path=args.ckpt_path)
show(module)
