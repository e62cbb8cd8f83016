"""A terminated process takes its write back before it ends."""

import os
import signal
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from ckpt_doctor.writer.signals import orderly_exit
from tests.writer.sample_files import litter, make


def test_a_terminated_process_leaves_no_copy_behind(tmp_path):
    """SIGTERM in the middle of a write: the old file, no litter, and the exit status of a terminated program."""
    path = make(tmp_path / "checkpoint", "torch-zip")
    before = path.read_bytes()
    code = (
        "import os, signal, sys; from pathlib import Path\n"
        "from tests.writer.sample_files import edited; from ckpt_doctor import writer\n"
        "writer.write(*edited(Path(sys.argv[1]), 'torch-zip'), {}, "
        "verify=lambda p: os.kill(os.getpid(), signal.SIGTERM))"
    )
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])}
    result = subprocess.run([sys.executable, "-c", code, str(path)], env=environment, capture_output=True, text=True)
    assert 128 + signal.SIGTERM == result.returncode, result.stderr
    assert before == path.read_bytes()
    assert {"checkpoint"} == litter(tmp_path)


def test_a_signal_to_end_is_an_exception_inside_and_the_default_again_afterwards():
    """With the exit status by which a shell knows the signal."""
    for number in (signal.SIGTERM, signal.SIGHUP):
        with pytest.raises(SystemExit) as left, orderly_exit():
            assert signal.SIG_DFL != signal.getsignal(number)
            signal.raise_signal(number)
        assert 128 + number == left.value.code
        assert signal.SIG_DFL == signal.getsignal(number)


def test_a_handler_of_the_program_itself_stays():
    """A trainer that saves on SIGTERM goes on doing so."""
    got = []
    before = signal.signal(signal.SIGTERM, lambda number, _: got.append(number))
    try:
        with orderly_exit():
            signal.raise_signal(signal.SIGTERM)
        assert [signal.SIGTERM] == got
    finally:
        signal.signal(signal.SIGTERM, before)


def test_a_thread_handles_no_signals():
    """Python lets only the main thread do so: the write goes on without."""
    seen = []

    def work() -> None:
        with orderly_exit():
            seen.append(signal.getsignal(signal.SIGTERM))

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert [signal.SIG_DFL] == seen
