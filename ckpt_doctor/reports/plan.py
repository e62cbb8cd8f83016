"""What `check` prints: what the trainer will do with this file, beside what the uninterrupted run would have done."""

from __future__ import annotations

from ckpt_doctor.reports import text
from ckpt_doctor.reports.cures import quoted
from ckpt_doctor.reports.table import MAX_TEXT, STYLE, fact_lines, finding_lines, not_deep, nothing_found
from ckpt_doctor.types import Facts, FileReport, Finding, Report, ResumePlan

SAVED_BY = {"best": "saved by EarlyStopping", "step": "saved by save_steps", None: ""}


def plan(report: Report, *, width: int = 80, color: bool = False) -> str:
    """The text of a check: report with one file."""
    if not report.files:
        return "\n".join(text.wrap(nothing_found(report), width)) + "\n"
    run, file, columns = report.runs[0], report.files[0], min(width, MAX_TEXT)
    lines = [text.styled(text.shorten(text.clean(file.checkpoint.path), width), "bold", color)]
    lines += [f"  {about(file)}", *text.wrap(f"resume: {outlook(file)}", columns, "  ", "    ")]
    lines += fact_lines(run.run.facts, columns)
    if file.plan is not None and file.member.state.epoch is not None:
        lines += ["", "  The trainer"]
        for sentence in sentences(file, file.plan, run.run.facts):
            lines += text.wrap(sentence, columns, "  - ", "    ")
    lines += finding_lines(run, report.paths, columns, color)
    for item in file.not_checked:
        if item.settle != "--deep":
            sentence = f"not checked: {text.clean(item.what)}: {text.clean(item.why)}."
            sentence += f" To settle it: {text.clean(item.settle)}" if item.settle else ""
            lines += text.wrap(sentence, columns, "  ", "    ")
    if file.plan is not None and file.plan.flags:
        lines += ["", *text.wrap(f"resume with: {' '.join(map(text.clean, file.plan.flags))}", columns, "  ", "    ")]
    lines += ["", *verdict_lines(file, columns, color)]
    return "\n".join(lines) + "\n"


def about(file: FileReport) -> str:
    """`saved by save_steps at step 18,000, 3.1 GiB`."""
    step = file.member.state.global_step
    saved = SAVED_BY[file.member.role] or f"{file.checkpoint.container}, {file.checkpoint.layout}"
    where = f" at step {text.integer(step)}" if step is not None else ""
    return f"{saved}{where}, {text.size(file.checkpoint.size)}"


def serious(file: FileReport) -> list[Finding]:
    """The findings above info."""
    return [finding for finding in file.findings if finding.severity != "info"]


def outlook(file: FileReport) -> str:
    """What the resumed run will be beside the uninterrupted one, in a word, and for which findings."""
    codes = ", ".join(dict.fromkeys(finding.code for finding in serious(file)))
    flags = " ".join(map(text.clean, file.plan.flags)) if file.plan is not None else ""
    why = f" ({codes})" if codes else ""
    words = {
        "identical": "identical to the uninterrupted run",
        "differs": f"differs from the uninterrupted run{why}",
        "open": f"open{why}: whether it is identical to the uninterrupted run depends on what is not settled",
        "not judged": "not judged: no known trainer wrote this",
        "impossible": f"impossible{why}",
    }
    if file.resume == "differs" and file.keeps_its_path:
        return f"identical to the uninterrupted run with {flags}; without it, differs"
    return words[file.resume]


def sentences(file: FileReport, plan: ResumePlan, facts: Facts) -> list[str]:
    """What the trainer will do, one clause each; what the facts do not settle is said to be open."""
    return [
        start(plan, facts),
        learning_rate(file, plan),
        early_stopping(file, plan, facts),
        *([f"has {text.integer(plan.steps_left)} steps left"] if plan.steps_left is not None else []),
        exactness(file, plan),
    ]


def start(plan: ResumePlan, facts: Facts) -> str:
    """Where it begins. Epochs count from 0 in the trainer's arguments and files, from 1 in its log."""
    if plan.start_epoch is None:
        return "starts in its epoch or in the next one: give --steps-per-epoch"
    epoch = plan.start_epoch
    of = f" of {text.integer(facts.train_epochs.value)}" if facts.train_epochs is not None else ""
    log = f" (epoch {text.integer(epoch + 1)} in the log)"
    if plan.skip_batches is None:
        skip = "how many batches it skips is open: give --steps-per-epoch"
    elif plan.skip_batches == 0:
        skip = "skips no batches"
    else:
        of_batches = f" of {text.integer(facts.steps_per_epoch.value)}" if facts.steps_per_epoch is not None else ""
        skip = f"skips {text.integer(plan.skip_batches)}{of_batches} batches"
    return f"starts at epoch {text.integer(epoch)}{of}{log} and {skip}"


def learning_rate(file: FileReport, plan: ResumePlan) -> str:
    """The first rate, and where in the schedule that is."""
    if plan.next_lr is None:
        return "takes a first learning rate that the facts do not settle"
    if plan.next_lr_uninterrupted is None:
        beside = "; what the uninterrupted run has is open"
    elif plan.next_lr == plan.next_lr_uninterrupted:
        beside = ", as the uninterrupted run does"
    elif text.rate(plan.next_lr) == text.rate(plan.next_lr_uninterrupted):
        beside = f" ({plan.next_lr!r}), where the uninterrupted run has {plan.next_lr_uninterrupted!r}"
    else:
        beside = f", where the uninterrupted run has {text.rate(plan.next_lr_uninterrupted)}"
    state = file.member.state
    position = ""
    if state.last_epoch is not None and (state.last_epoch or file.resume_point.last_epoch):
        of = f" of {text.integer(state.total_steps)}" if state.total_steps is not None else ""
        position = f" (position {text.integer(state.last_epoch)}{of} in the schedule)"
    return f"uses learning rate {text.rate(plan.next_lr)}{beside}{position}"


def early_stopping(file: FileReport, plan: ResumePlan, facts: Facts) -> str:
    """What EarlyStopping remembers."""
    if plan.best_score is None:
        expected = file.resume_point.early_stopping
        if expected is not None and expected.value.best_score is None:
            return "knows no validation loss yet, as it should before the first validation"
        return "remembers no best validation loss (best_score is missing)"
    if facts.generation is not None and facts.generation.value == "first-patch":
        return (
            f"forgets the best validation loss, which the file has ({text.real(-plan.best_score)}): the run's own "
            "trainer, the first patch, does not read best_score"
        )
    best = f"remembers best validation loss {text.real(-plan.best_score)}"
    if plan.counter is None:
        return best
    patience = f" of {text.integer(facts.patience.value)}" if facts.patience is not None else ""
    return f"{best}, {text.integer(plan.counter)}{patience} epochs without improvement since"


def exactness(file: FileReport, plan: ResumePlan) -> str:
    """Whether the losses will be those of the uninterrupted run to the last bit."""
    if plan.why_not_exact:
        return f"does not continue bit for bit: {'; '.join(map(text.clean, plan.why_not_exact))}"
    if file.resume == "identical":
        inside = " (dropout, where the model has any, draws other noise within an epoch)" if plan.skip_batches else ""
        return f"can continue bit for bit: nothing in the file speaks against it{inside}"
    if file.resume == "open":
        return "may continue bit for bit or not: that depends on what is open"
    return "does not continue bit for bit as it is: the findings below say why"


def verdict_words(file: FileReport) -> str:
    """What a verdict means for the resume."""
    if file.verdict == "broken":
        return "do not resume from it"
    otherwise = [finding for finding in serious(file) if finding.migration is None and finding.fix]
    how = (
        " with the flags above" if file.plan is not None and file.plan.flags else " as told above" if otherwise else ""
    )
    words = f"migrate, then resume{how}" if file.verdict == "repairable" else f"resume from it{how}"
    if file.resume == "open":
        words += ", once what is open above is settled"
    left = dict.fromkeys(finding.code for finding in serious(file) if finding.migration is None and not finding.fix)
    return f"{words}; {', '.join(left)} will stay: no edit of the file cures that" if left else words


def verdict_lines(file: FileReport, width: int, color: bool) -> list[str]:
    """The last lines: the verdict in words, and what stays unchecked."""
    lines = text.wrap(f"verdict: {file.outlook}: {verdict_words(file)}.", width)
    lines[0] = lines[0].replace(file.outlook, text.styled(file.outlook, STYLE[file.outlook], color), 1)
    if file.verdict == "broken" and file.member.role is not None:
        path = file.checkpoint.path
        run = path.parent.parent if file.member.role == "step" else path.parent
        lines.append(f"Another one: ckpt-doctor latest {quoted(run)}")
    if left := not_deep([file]):
        lines += text.wrap(f"Not checked: {left}.", width)
    return lines
