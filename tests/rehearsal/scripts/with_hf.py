"""A training with the Trainer of transformers, as its examples are written."""

import argparse

import torch
import transformers
from digest import show
from torch import nn

parser = argparse.ArgumentParser()
parser.add_argument("--output_dir", default="out")
parser.add_argument("--max_steps", type=int, default=200)
parser.add_argument("--save_steps", type=int, default=15)
parser.add_argument("--resume_from_checkpoint")
args = parser.parse_args()


class Tiny(transformers.PreTrainedModel):
    """Two layers with dropout between them."""

    config_class = transformers.PretrainedConfig

    def __init__(self, config):
        super().__init__(config)
        self.layers = nn.Sequential(nn.Linear(4, 16), nn.Dropout(0.2), nn.ReLU(), nn.Linear(16, 1))
        self.post_init()

    def forward(self, x, labels):
        out = self.layers(x).squeeze(-1)
        return {"loss": ((out - labels) ** 2).mean(), "logits": out}


torch.set_num_threads(1)
x = torch.linspace(-1, 1, 320).reshape(-1, 4)
rows = [{"x": row, "labels": row.sum()} for row in x]
transformers.set_seed(1)
settings = transformers.TrainingArguments(
    output_dir=args.output_dir,
    max_steps=args.max_steps,
    save_steps=args.save_steps,
    per_device_train_batch_size=4,
    learning_rate=0.01,
    seed=1,
    report_to=[],
    disable_tqdm=True,
    use_cpu=True,
)
trainer = transformers.Trainer(Tiny(transformers.PretrainedConfig()), settings, train_dataset=rows)
trainer.train(resume_from_checkpoint=args.resume_from_checkpoint)
show(trainer.model)
