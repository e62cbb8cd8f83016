"""The core values that pass between the stages: read -> understand -> judge -> repair -> report.

Only data. Readers make `Checkpoint`s; a trainer's package makes `TrainingState`, `Run` and `ResumePoint` of them;
rules turn a `Case` into `Finding`s; migrations turn it into `Edit`s.
"""

from ckpt_doctor.types.advice import Advice, AdviceKind, Blank, LeftLog, PassedOver, WayOut, Words
from ckpt_doctor.types.checkpoint import (
    A_COPY,
    MODEL_KEYS,
    WRAPPERS,
    Checkpoint,
    Container,
    Counted,
    Damage,
    DeepResult,
    FileStamp,
    Layout,
    MigrationRecord,
    NotChecked,
    Program,
    model_path,
    stamp_of,
    wrapper_of,
)
from ckpt_doctor.types.edit import Edit
from ckpt_doctor.types.facts import Choice, Count, Evidence, Fact, Facts, Flag, Given, Number, option_of
from ckpt_doctor.types.judgement import (
    RANKS,
    Adopted,
    Column,
    Curve,
    Departure,
    FileReport,
    Finding,
    Located,
    Points,
    Refusal,
    Report,
    Resume,
    RunReport,
    Severity,
    Terms,
    TrainerManual,
    Verdict,
    reaches,
    selects,
    trusts,
    without_flagged,
)
from ckpt_doctor.types.numbers import (
    LOG_PRECISION,
    equal,
    holds_rate,
    real,
    same_rate,
    same_score,
)
from ckpt_doctor.types.results import (
    Comparison,
    Cost,
    Difference,
    ExportResult,
    Latest,
    Linted,
    Measured,
    MigrationResult,
    Migrations,
    Mode,
    Proof,
    PruneResult,
    Receipt,
    Recovery,
    SalvageResult,
    Spared,
    Statistics,
    Status,
    Uncounted,
    UndoReceipt,
)
from ckpt_doctor.types.run import (
    Case,
    EarlyStoppingState,
    LateRandomState,
    Member,
    OpenFact,
    Places,
    Rates,
    ReadScalars,
    ResumePlan,
    ResumePoint,
    Role,
    Run,
    Schedule,
    TrainingState,
    Upgrade,
)
from ckpt_doctor.types.script import ScriptFacts, sets_first_rate
from ckpt_doctor.types.values import (
    CPU_GENERATOR,
    Global,
    InertDict,
    KeyPath,
    NumpyScalar,
    Opaque,
    StorageInfo,
    TensorInfo,
    TensorRef,
    dotted,
    mapping_of,
    path_name,
    python_value,
)
