"""What is read of a checkpoint that no trainer owns."""

from __future__ import annotations

import torch

from ckpt_doctor.audit import scan
from ckpt_doctor.trainers.time_llm import layout


def test_progress_is_read_wherever_it_is_known_by_its_shape(tmp_path):
    """Counts below `meta`, as mmengine has them; an optimizer in a list, as Lightning has it; nobody's by one key."""
    parameter = torch.nn.Parameter(torch.ones(2))
    optimizer = torch.optim.Adam([parameter], lr=0.25)
    for _ in range(3):
        parameter.sum().backward()
        optimizer.step()
    held = {"meta": {"epoch": 12, "iter": 87960}, "optimizer_states": [optimizer.state_dict()], "model_args": {}}
    torch.save({"state_dict": {"w": parameter.detach()}} | held, tmp_path / "epoch_12.pth")
    (file,) = scan([tmp_path]).files
    state = file.member.state
    assert (12, 87960, 3, 0.25) == (state.epoch, state.global_step, state.optimizer_step, state.lr)


def test_however_many_bare_weights_lie_in_a_folder_it_is_listed_equally_often(tmp_path, monkeypatch):
    """Once for each would be quadratic."""
    listed = []
    monkeypatch.setattr(layout, "prunable", lambda folder: listed.append(folder) or [])
    counts = []
    for number in (1, 9):
        for each in range(number):
            torch.save({"w": torch.ones(2)}, tmp_path / f"{each}.pt")
        listed.clear()
        assert number == len(scan([tmp_path]).files)
        counts.append(len(listed))
    assert 0 < counts[0] == counts[1]


def why_not_judged(path, value):
    torch.save(value, path)
    (file,) = scan([path]).files
    return [one.why for one in file.not_checked if one.what == "the resume"]


def test_weights_with_nothing_in_the_optimizers_place_are_weights_only(tmp_path):
    weights = {"w": torch.ones(2)}
    only = ["weights only: a resume starts the optimizer anew"]
    assert only == why_not_judged(tmp_path / "a.pt", {"model": weights, "optimizer": None, "iteration": 7})
    assert only == why_not_judged(tmp_path / "b.pt", {"ema": weights, "args": {"lr": 0.1}})
    for more in ({"optimizer": {"warmup": 4}}, {"optimizer": None, "dp_world_size": 2}):
        assert only != why_not_judged(tmp_path / "c.pt", {"model": weights, **more})


def test_an_optimizer_whose_model_is_not_in_the_file_is_told(tmp_path):
    def trained(width):
        layer = torch.nn.Linear(width, width)
        optimizer = torch.optim.Adam(layer.parameters())
        layer(torch.ones(width)).sum().backward()
        optimizer.step()
        return layer.state_dict(), optimizer.state_dict()

    (one, its), (other, others) = trained(3), trained(5)
    held = {"G": one, "optG": its, "optD": others, "epoch": 3, "model_args": {}}
    told = "no known trainer wrote this"
    assert [f"{told}; the parameters of optD are not in the file"] == why_not_judged(tmp_path / "a.pt", held)
    assert [told] == why_not_judged(tmp_path / "b.pt", held | {"D": other})


def test_what_a_file_would_need_to_be_judged_is_told(tmp_path):
    """A count, or the state_dict in the place of an optimizer that was saved as a whole."""
    layer = torch.nn.Linear(3, 3)
    optimizer = torch.optim.Adam(layer.parameters())
    layer(torch.ones(3)).sum().backward()
    optimizer.step()
    held = {"net": layer.state_dict(), "opt": optimizer.state_dict()}
    (uncounted,) = why_not_judged(tmp_path / "a.pt", held)
    (whole,) = why_not_judged(tmp_path / "b.pt", held | {"opt": optimizer, "epoch": 3})
    assert "of which epoch or step" in uncounted and "opt is a whole object" in whole
