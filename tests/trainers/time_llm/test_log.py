"""What is read from a log does not depend on the noise around it, nor on where it was cut."""

from dataclasses import replace
from itertools import pairwise

import pytest
from hypothesis import assume, example, given, settings
from hypothesis import strategies as st

from ckpt_doctor.trainers.time_llm import log
from ckpt_doctor.trainers.time_llm.events import Arguments, Bar, EpochResult, Stopped
from tests.trainers.time_llm.test_events import LINES


def read(data: bytes):
    return list(log.events([data]))


def facts(data: bytes):
    """Events without their line numbers."""
    return [replace(event, line=0) for event in read(data)]


@pytest.mark.parametrize(
    "text",
    [
        "initial_lr = 0.0004000000",
        "lr = 0.0004",
        "Epoch: 1 | Train Loss: 0.51 Vali Loss: 0.41 Test Loss: 0.39 MAE Loss: 0.40",
        "Loading checkpoint shards: 100%|##| 2/2",
        "Early stopping was not used",
        "usage: run_main.py [--lradj LRADJ] [--patience PATIENCE]",
        "python run_main.py --learning_rate $learning_rate",
        "  cure: add --learning_rate 4e-06 to the resume command",
        "【说明】训练日志 Epoch：1",
    ],
)
def test_what_only_resembles_a_line_is_nothing(text):
    """Other programs' lines, help texts and advice are not evidence."""
    assert not read(f"{text}\n".encode())


def test_a_closed_bar_tells_its_last_count_and_where():
    """tqdm ends a bar with a line end; a bar in front of text is not closed there."""
    data = b"\r1it [00:00, 5.65it/s]\r45it [00:03, 12.19it/s]\n\r3it [00:00, 9it/s]Early stopping\n"
    assert [Bar(1, 45), Stopped(2)] == read(data)
    assert [Bar(1, 90)] == read("\r 50%|█████     | 45/90 [00:03<00:03, 12it/s]\r100%|█| 90/90 [01:02:06]\n".encode())


def test_utf16_logs_of_powershell_are_read():
    """`Tee-Object` writes UTF-16 with a byte order mark."""
    text = "中文\r\nEarly stopping\r\n"
    for encoding in ("utf-16", "utf-16-be"):
        bom = b"\xfe\xff" if encoding == "utf-16-be" else b""
        data = bom + text.encode(encoding)
        assert [Stopped(2)] == list(log.events([data[:1], data[1:7], data[7:]]))


def test_a_file_is_read_in_pieces(tmp_path, monkeypatch):
    """Line numbers and events are the same whatever the size of the pieces."""
    path = tmp_path / "train.log"
    path.write_bytes("".join(f"text\n{text}\n" for text in LINES).encode())
    expected = list(log.read_events(path))
    assert [2 * (i + 1) for i in range(len(LINES))] == [event.line for event in expected]
    monkeypatch.setattr(log, "CHUNK", 7)
    assert expected == list(log.read_events(path))


def test_a_line_without_end_does_not_fill_the_memory(monkeypatch):
    """Binary rubbish is forgotten, and what follows the next line end is read."""
    monkeypatch.setattr(log, "LONGEST_LINE", 1000)
    pieces = [b"x" * 100] * 500 + [b"\nEarly stopping\n"]
    assert [Stopped(2)] == list(log.events(pieces))


# --- noise -----------------------------------------------------------------------------------------------------------

bars = st.builds(
    lambda n, rest: f"\r{n}it [00:{n % 60:02d}, {rest}",
    st.integers(0, 9999),
    st.sampled_from(["11.32it/s]", " 1.53s/it]", "?it/s]", "9.1it/s, loss=0.3]", "12it/s]\x1b[A"]),
)
chatter = st.sampled_from(
    ["", "正在加载数据…", "train 8521", "\tspeed: 0.0812s/iter; left time: 3467.2s", "Warning: x"]
)


@st.composite
def noisy_logs(draw):
    """A clean log and the same one with bars before and inside its lines, other lines between, other line ends."""
    clean, noisy = [], []
    end = draw(st.sampled_from(["\n", "\r\n"]))
    for text in draw(st.lists(st.sampled_from(sorted(LINES)), max_size=6)):
        clean.append(text + "\n")
        if draw(st.booleans()):
            noisy.append(draw(chatter) + end)
        at = draw(st.integers(0, len(text) - 1))
        inside = draw(bars) if draw(st.booleans()) else ""
        noisy.append("".join(draw(st.lists(bars, max_size=3))) + text[:at] + inside + text[at:] + end)
    return "".join(clean).encode(), "".join(noisy).encode()


@settings(max_examples=100)
@given(noisy_logs(), st.lists(st.integers(0, 3000), max_size=5))
def test_noise_and_reading_in_pieces_change_no_fact(logs, cuts):
    """Bars before and within lines, foreign lines, CRLF, any splitting of the stream: the same events."""
    clean, noisy = logs
    edges = [0, *sorted(min(cut, len(noisy)) for cut in cuts), len(noisy)]
    pieces = [noisy[a:b] for a, b in pairwise(edges)]
    assert facts(clean) == [replace(event, line=0) for event in log.events(pieces)]


def without_last_losses(events):
    """The last epoch line may have lost its end, and then has lost test and MAE loss."""
    return [replace(e, test_loss=None, mae_loss=None) if isinstance(e, EpochResult) else e for e in events]


@settings(max_examples=100)
@given(noisy_logs(), st.integers(0, 3000))
def test_a_cut_log_says_nothing_that_the_whole_one_does_not_say(logs, cut):
    """Cut at any byte, what is read is the beginning of what would have been read."""
    noisy = logs[1]
    whole, part = facts(noisy), facts(noisy[:cut])
    assert whole[: max(len(part) - 1, 0)] == part[:-1]
    assert without_last_losses(whole[: len(part)]) == without_last_losses(part)


@pytest.mark.parametrize("bar", ["\r1000", "\r1000it", "\r1000it [00:40", "\r 44%|####4     | 20/45 [00:0"])
def test_a_bar_in_which_the_log_ends_lends_its_count_to_no_number(bar):
    """`loss: 0.432` and the `1000` of a cut bar are no loss with seven decimals, nor where the next run continues."""
    cut = f"\titers: 100, epoch: 1 | loss: 0.432{bar}"
    assert [] == facts(cut.encode())
    assert [Stopped(0)] == facts(f"{cut}Early stopping\n".encode())


def test_a_bar_that_was_cleared_leaves_the_line_whole():
    """tqdm overwrites a bar that it does not leave with blanks."""
    cleared = "\r 44%|####4     | 20/45 [00:01<00:01, 12it/s]\r" + 50 * " " + "\r"
    assert [Stopped(1), Stopped(2)] == read(f"{cleared}Early stopping\nEarly stopping{cleared}\n".encode())


@pytest.mark.parametrize("line", ["Checkpoints saved at: ./checkpoints", "Resumed at epoch 1, global_step 5"])
def test_a_cut_colour_code_does_not_take_the_next_run_s_first_letter(line):
    """The log was cut between `ESC [` and the letter that ends the code."""
    cut = b"Epoch: 1 cost time: 2\n\r1000it [00:40, 12it/s]\x1b["
    assert facts(cut) + facts(f"{line}\n".encode()) == facts(cut + f"{line}\n".encode())


LOSSES = next(text for text in LINES if "Aux Loss" in text)
CUT_IN_A_BAR = f"{LOSSES[:-1]}\r0it [00:00, 11.32it/s"
"""Its `0` in place of the last digit would be another MAE loss."""


@settings(max_examples=100)
@given(noisy_logs(), st.integers(0, 3000), noisy_logs())
@example(
    logs=(f"{LOSSES}\n".encode(), f"{CUT_IN_A_BAR}]{LOSSES[-1]}\n".encode()),
    cut=len(CUT_IN_A_BAR),
    more=(b"\titers: 100, epoch: 1 | loss: 0.4321987\n", b""),
)
def test_a_log_appended_to_a_cut_one_is_read_from_its_start(logs, cut, more):
    """`tee -a` continues on the cut line: nothing of the second run is lost, nothing is made of two halves."""
    first, second = logs[1][:cut], more[0]
    assume(not second.startswith(b"lr = "))  # no run begins with it, and behind a letter it is another name
    expected = facts(first) + facts(second)
    assert [e for e in expected if not isinstance(e, Arguments)] == [
        e for e in facts(first + second) if not isinstance(e, Arguments)
    ]
