"""One rank of the reference trainer: a job per line of stdin, its trace as a line of stdout."""

from __future__ import annotations

import io
import json
import sys
from dataclasses import asdict
from pathlib import Path


def main(fixtures: str) -> None:
    """Serve jobs until stdin ends."""
    sys.path.insert(0, fixtures)
    import reference_trainer as trainer
    from accelerate import PartialState

    state = PartialState(
        cpu=True
    )  # the process group lives as long as the rank, the trainer's objects as long as a job
    answers, sys.stdout = sys.stdout, sys.stderr
    for line in sys.stdin:
        job, log = json.loads(line), io.StringIO()
        trace = trainer.run(trainer.parse(job["argv"]), log=log)
        if state.is_main_process:
            with Path(job["log"]).open("a") as file:
                file.write(log.getvalue())
        answers.write(json.dumps(asdict(trace)) + "\n")
        answers.flush()
    state.destroy_process_group()


if __name__ == "__main__":
    main(sys.argv[1])
