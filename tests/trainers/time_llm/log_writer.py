"""A trainer that trains nothing: it saves, resumes, is killed and logs as Time-LLM's does."""

from contextlib import suppress
from dataclasses import dataclass, field

from ckpt_doctor.trainers.time_llm.attempts import attempts_of
from ckpt_doctor.trainers.time_llm.early_stopping import BLIND, after, improves
from ckpt_doctor.trainers.time_llm.history import History
from ckpt_doctor.trainers.time_llm.log import events

RUN = "long_term_forecast_ETTh1_0-Test"


@dataclass
class File:
    """A checkpoint, as far as resuming goes."""

    name: str
    epoch: int
    """0-based epoch in which a resume from it starts."""
    global_step: int
    memory: object
    """The EarlyStopping state that the trainer had in memory and, if complete, wrote."""


@dataclass
class Trainer:
    """Losses are a function of the epoch, so that a resumed run continues exactly."""

    losses: list
    steps: int = 7
    save_steps: int = 5
    complete: bool = True
    run: str = RUN
    folder: str = "/content/drive/MyDrive/checkpoints"
    rates: object = None
    """Lines that follow an epoch (1-based): a function to a list of texts."""
    lines: list = field(default_factory=list)
    files: dict = field(default_factory=dict)

    def launch(self, resume=None, kill_after=None):
        """One attempt; it ends before the line `kill_after` of its own. Returns how many lines it printed."""
        written = []

        class Killed(Exception):
            pass

        def say(text):
            if kill_after is not None and len(written) >= kill_after:
                raise Killed
            written.append(text)

        with suppress(Killed):
            self._train(resume, say)
        self.lines += written
        return len(written)

    def _train(self, resume, say):
        path = f"{self.folder}/{self.run}"
        epoch, step, skip, memory = 0, 0, 0, BLIND
        if resume is not None:
            file = self.files[resume]
            say(f"Loading checkpoint: {path}/{file.name}")
            epoch, step = file.epoch, file.global_step
            say(f"Resumed at epoch {epoch}, global_step {step}")
            skip = step - epoch * self.steps
            if self.complete:
                memory = file.memory
                say(
                    f"Restored EarlyStopping: best_score={memory.best_score}, val_loss_min={memory.val_loss_min}, "
                    f"counter={memory.counter}"
                )
            if skip:
                say(f"Will skip first {skip} batches in epoch {epoch} to resume.")
        for number in range(epoch, len(self.losses)):
            for _ in range(skip, self.steps):
                step += 1
                if step % self.save_steps == 0:
                    name = f"checkpoint_step_{step}"
                    say(f"Saved step checkpoint: {path}/{name}")
                    self.files[name] = File(f"{name}/checkpoint.pt", number, step, memory)
            skip = 0
            say(f"\r{self.steps}it [00:03, 12.54it/s]")
            say(f"Epoch: {number + 1} cost time: 3.5")
            loss = self.losses[number]
            say(
                f"Epoch: {number + 1} | Train Loss: 0.5000000 Vali Loss: {loss:.7f} Test Loss: 0.4000000 "
                "MAE Loss: 0.4000000"
            )
            saves = improves(memory, loss)
            memory = after(memory, loss)
            if saves:
                self.files["checkpoint"] = File("checkpoint", number + 1, step, memory)
            else:
                say(f"EarlyStopping counter: {memory.counter} out of 10")
            for text in self.rates(number + 1) if self.rates else ["Updating learning rate to 0.001"]:
                say(text)
        say("Checkpoints saved at: ./checkpoints")

    @property
    def text(self):
        return "".join(line + "\n" for line in self.lines).encode()

    def attempts(self, log=None):
        return attempts_of(events([self.text]), log)


def history(attempts, run=RUN):
    return History(run, tuple(attempts), True, "test")


def result(epoch, loss):
    return f"Epoch: {epoch} | Train Loss: 0.5000000 Vali Loss: {loss:.7f} Test Loss: 0.4000000 MAE Loss: 0.4000000"


def read(*lines):
    return attempts_of(events(["".join(line + "\n" for line in lines).encode()]))


def saved(step, run=RUN):
    return f"Saved step checkpoint: /c/{run}/checkpoint_step_{step}"
