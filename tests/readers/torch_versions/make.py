"""Writes the checkpoint of `test_torch_versions.py` with the torch at hand, and what that torch says is in it.

    python -m pip install torch==1.6.0 numpy
    python make.py        # writes torch-1.6.0-py3.7.pt, .legacy and .json beside this file

Runs under every Python that a torch was made for, 2.7 included. The facts come from the live objects, not from a file.
"""

import io
import json
import os
import sys
import zipfile
from collections import OrderedDict

import numpy
import torch
from torch import nn

ARCHIVE_ONLY = ("uint16", "float8_e5m2")  # saved into a legacy stream without complaint, and never loaded from it
HERE = os.path.dirname(os.path.abspath(__file__))


def training():
    """A network after two steps of Adam, with whatever kinds of tensors this torch has."""
    torch.manual_seed(1)
    net = nn.Sequential(nn.Linear(3, 2), nn.BatchNorm1d(2))
    optimizer = torch.optim.Adam(net.parameters(), lr=0.01)
    schedulers = torch.optim.lr_scheduler
    if hasattr(schedulers, "OneCycleLR") and sys.version_info[0] > 2:  # Python 2 cannot pickle its bound methods
        scheduler = schedulers.OneCycleLR(optimizer, max_lr=0.1, total_steps=10)
    else:
        scheduler = schedulers.StepLR(optimizer, step_size=3)
    for _ in range(2):
        optimizer.zero_grad()
        net(torch.randn(4, 3)).pow(2).sum().backward()
        optimizer.step()
        scheduler.step()
    return OrderedDict(
        [
            ("model", net.state_dict()),
            ("optimizer", optimizer.state_dict()),
            ("scheduler", scheduler.state_dict()),
            ("epoch", 1),
            ("global_step", 2),
            ("best_score", numpy.float64(-0.25)),
            ("kinds", kinds()),
            ("array", numpy.arange(3)),
            ("network", nn.Linear(2, 1)),
        ]
    )


def kinds():
    """Views, shapes and element types."""
    base = torch.arange(12).float()
    found = {
        "first half": base[:6],
        "second half": base[6:],
        "turned": base.view(3, 4).t(),
        "parameter": nn.Parameter(torch.ones(2)),
        "empty": torch.zeros(0, 3),
        "single": torch.tensor(7.5),
        "twice": [base, base],
        "half": base.half(),
        "double": base.double(),
    }
    for name in ("bool", "uint8", "int8", "int16", "int32", "int64", "bfloat16", "complex64", "uint16", "float8_e5m2"):
        if hasattr(torch, name):
            try:
                tensor = torch.arange(3).to(getattr(torch, name))
                torch.save(tensor, io.BytesIO())
            except (KeyError, RuntimeError):  # a type that this torch names and cannot make or save yet
                continue
            found[name] = tensor
    return found


def facts(value, path, found, seen):
    """Each tensor object by the first path that reaches it."""
    if isinstance(value, nn.Module):
        value = OrderedDict([(k, v) for part in (value.named_parameters, value.named_buffers) for k, v in part()])
    if isinstance(value, torch.Tensor):
        if id(value) not in seen:
            seen[id(value)] = value
            found[path] = about(value)
    elif isinstance(value, dict):
        for key, item in value.items():
            facts(item, path + "." + str(key) if path else str(key), found, seen)
    elif isinstance(value, (list, tuple)):
        for index, item in enumerate(value):
            facts(item, path + "." + str(index), found, seen)


def about(tensor):
    """Type, form and numbers of a tensor."""
    plain = tensor.detach()
    kind = str(tensor.dtype).replace("torch.", "")
    if kind == "complex64":
        numbers = [part for number in plain.tolist() for part in (number.real, number.imag)]
    else:
        numbers = [float(number) for number in plain.double().contiguous().view(-1)]
    return {
        "dtype": kind,
        "shape": list(tensor.shape),
        "stride": list(tensor.stride()),
        "offset": tensor.storage_offset(),
        "parameter": isinstance(tensor, nn.Parameter),
        "numbers": numbers,
    }


def main():
    """Write the three files."""
    value = training()
    found = OrderedDict()
    facts(value, "", found, {})
    name = "torch-{}-py{}.{}".format(torch.__version__.split("+")[0], *sys.version_info[:2])
    path = os.path.join(HERE, name)
    torch.save(value, path + ".pt")
    if zipfile.is_zipfile(path + ".pt"):
        for kind in ARCHIVE_ONLY:
            value["kinds"].pop(kind, None)
        torch.save(value, path + ".legacy", _use_new_zipfile_serialization=False)
    else:  # before 1.6 there is one format, the legacy stream
        os.rename(path + ".pt", path + ".legacy")
    with open(path + ".json", "w") as file:
        json.dump({"numpy": numpy.__version__, "keys": list(value), "tensors": found}, file, separators=(",", ":"))
        file.write("\n")


if __name__ == "__main__":
    main()
