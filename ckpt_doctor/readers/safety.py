"""Judges the names that a checkpoint's pickles mention: allowed, known, unknown, dangerous.

`torch.load` imports every one of them and calls most. *Allowed* is what `torch.load(weights_only=True)` accepts;
*known* is plain data of torch, numpy and the standard library; *dangerous* runs code or reaches the system, files or
the network, or is a step on the way there; *unknown* is everything else, which needs its package to load.
"""

from __future__ import annotations

import re
import sys
from collections import defaultdict
from collections.abc import Iterable, Sequence
from typing import Literal

from ckpt_doctor.inert.callables import STANDARD, is_listed
from ckpt_doctor.inert.known_globals import (
    DANGEROUS_MODULES,
    DANGEROUS_PREFIXES,
    DATA_MODULES,
    KNOWN,
    KNOWN_NUMPY_TYPES,
    KNOWN_TORCH,
    PACKAGED,
    POWERFUL,
    PURE_TORCH,
    TORCH_CLASSES,
    WEIGHTS_ONLY,
)
from ckpt_doctor.inert.pickle_machine import COMPUTED, shown
from ckpt_doctor.types import Container, Damage, Global

Judgement = Literal["allowed", "known", "unknown", "dangerous"]


def judge(name: Global) -> Judgement:
    """What one name means for a process that loads the file."""
    full = str(name)
    # Dots in a name lead through what a module has imported: the list's names are those of the modules themselves.
    if name.module != "torch" or "." not in name.name:
        if full in WEIGHTS_ONLY:
            return "allowed"
        if full in KNOWN or (name.module, name.name) in STANDARD:
            return "known"
        if full in PACKAGED:
            return "unknown"
    # Stripped, because what looks like `os\\r` was `os` before the file's line endings changed
    module, inner = name.module.strip(), name.name.strip()
    if not module or COMPUTED[:-1] in full:
        return "dangerous"
    if full != f"{module}.{inner}" and (f"{module}.{inner}" in KNOWN or (module, inner) in STANDARD):
        return "unknown"
    if _is_dangerous(f"{module}.{inner}") or _leads_elsewhere(inner):
        return "dangerous"
    if module == "numpy" and inner.rstrip("0123456789").startswith(KNOWN_NUMPY_TYPES):
        return "known"
    if module == "numpy.dtypes" and inner.endswith("DType"):
        return "known"
    root = module.partition(".")[0]
    if root in ("torch", "torchvision"):
        return _judge_torch(module, inner)
    if (root == "builtins" and inner.endswith(("Error", "Exception", "Warning"))) or module in ("math", "cmath"):
        return "known"
    if module in DATA_MODULES and inner.isidentifier() and inner[0].isupper():
        # A metaclass makes classes of any methods; a forward reference evaluates its text.
        return "dangerous" if inner.endswith(("Meta", "Type")) or inner == "ForwardRef" else "known"
    # Plain data of the standard library is listed above. All else of it has no business in a checkpoint, and too much
    # of it runs what it is handed (`dataclasses._create_fn`, `typing.get_type_hints`, `site.addsitedir`).
    return "dangerous" if root in sys.stdlib_module_names else "unknown"


def _is_dangerous(full: str) -> bool:
    return full.partition(".")[0] in DANGEROUS_MODULES or full.startswith(DANGEROUS_PREFIXES)


def is_system(name: Global) -> bool:
    """Whether a name lies in the standard library, or in a module that runs what it is given."""
    root = name.module.partition(".")[0]
    return root in sys.stdlib_module_names or root in DANGEROUS_MODULES


def _leads_elsewhere(inner: str) -> bool:
    """Whether a dotted name takes another module's names by way of an innocent one: `random`, `_os.system`."""
    parts = inner.split(".")
    if len(parts) == 1:
        return False
    if any(part.startswith("__") for part in parts):  # `Module.forward.__globals__`
        return True
    plain = ["numpy" if part == "np" else part.lstrip("_") for part in parts]
    return any(_is_dangerous(".".join(plain[at:])) for at in range(len(plain)))


def _is_class_of_c(module: str, inner: str) -> bool:
    if module != "torch._C" or re.search(POWERFUL, inner):
        return False
    return inner[:1].isupper() or inner.startswith("_VariableFunctions")  # `torch.tanh`, as pickle finds it


def _judge_torch(module: str, inner: str) -> Judgement:
    if module == "torch":
        if re.fullmatch(TORCH_CLASSES, inner):
            return "dangerous" if re.search(POWERFUL, inner.partition(".")[2]) else "known"
        # Functions go by this module (`torch.tanh`); what begins otherwise, or is dotted, leads on into all of torch.
        plain = inner.isidentifier() and inner[0].islower() and inner not in sys.stdlib_module_names
        return "known" if plain and not re.search(POWERFUL, inner) else "dangerous"
    if (module, inner[:9]) == ("torch._utils", "_rebuild_") or _is_class_of_c(module, inner):
        return "known"
    if any(_lies_in(module, pure) for pure in PURE_TORCH) and inner.isidentifier():
        return "known"
    if "." in inner and not inner.lstrip("_")[:1].isupper():
        return "unknown"  # by way of what a module has imported; S204 where it is called
    is_class = inner.lstrip("_")[:1].isupper()
    if not is_class and re.search(POWERFUL, inner):
        return "dangerous"
    if re.search(POWERFUL, f"{module}.{inner}") and not any(_lies_in(module, known) for known in KNOWN_TORCH):
        return "dangerous"
    return "known" if any(_lies_in(module, known) for known in KNOWN_TORCH) else "unknown"


def _lies_in(module: str, package: str) -> bool:
    return module == package or module.startswith(package + ".")


def foreign_calls(names: Iterable[Global], calls: Iterable[Global]) -> dict[str, list[Global]]:
    """By module, what loading calls that no list allows; without what is dangerous by its name already."""
    told = {name for name in names if judge(name) == "dangerous"} | {Global("builtins", "getattr")}
    found: dict[str, list[Global]] = defaultdict(list)
    for name in calls:
        if not is_listed(name) and name not in told:
            found[name.module].append(name)
    return dict(found)


def classify(names: Iterable[Global]) -> dict[Judgement, list[Global]]:
    """The names by judgement, each list in order of first mention."""
    found: dict[Judgement, list[Global]] = defaultdict(list)
    for name in names:
        found[judge(name)].append(name)
    return dict(found)


def assess(
    container: Container,
    names: Sequence[Global],
    calls: Sequence[Global],
    refusals: Sequence[str] = (),
) -> list[Damage]:
    """Findings of the kinds `dangerous-global`, `foreign-call`, `unknown-global` and `not-weights-only` for one file.

    `refusals` are reasons other than a name for which the restricted unpickler refuses it.
    """
    is_plain = container in ("torch-zip", "torch-legacy") and not refusals
    if is_plain and all(judge(name) == "allowed" for name in names) and all(map(is_listed, calls)):
        return []  # as of nearly all files
    if container == "torchscript":
        names = [name for name in names if not is_scripted(name)]
        calls = [name for name in calls if not is_scripted(name)]
    by = classify(names)
    damage = []
    for name in by.get("dangerous", []):
        what = "a name that it computes while loading" if COMPUTED in (name.module, name.name) else shown(name)
        message = f"loading the file would call or import {what}, which no checkpoint needs and an attacker does"
        damage.append(Damage("dangerous-global", message, found=shown(name)))
    for module, members in foreign_calls(names, calls).items():
        message = f"loading the file calls {_listed(members)}, and no list of harmless functions holds "
        message += "it" if len(members) == 1 else "them"
        damage.append(Damage("foreign-call", message, shown(module), _listed(members, 100)))
    packages: dict[str, list[Global]] = defaultdict(list)
    for name in by.get("unknown", []):
        packages[name.module.split(".")[0]].append(name)
    for package, members in packages.items():
        damage.append(_unknown(package, members))
    damage += _not_weights_only(container, names, refusals)
    return damage


def is_scripted(name: Global) -> bool:
    """Whether TorchScript's C++ unpickler makes this from the archive's code, and imports nothing.

    torch/csrc/jit/serialization/unpickler.cpp. Types of lowered backends lie in `torch.jit` (`LoweredModule...`).
    """
    return name.module.startswith("__torch__") or name.module.split(".")[:2] == ["torch", "jit"]


def _unknown(package: str, names: Sequence[Global]) -> Damage:
    listed = _listed(names)
    if package == "__main__":
        message = f"it can only be loaded by the script that wrote it, which defines {listed}"
    elif package in sys.stdlib_module_names:
        message = f"it names {listed} of the standard library, which checkpoints do not need"
    elif package in ("torch", "torchvision"):
        message = f"it names {listed}, inner parts of {package} that other versions may not have"
    else:
        message = f"it needs the package {shown(package)!r} to load, and runs its code: {listed}"
    return Damage("unknown-global", message, found=listed)


def _not_weights_only(container: Container, names: Sequence[Global], refusals: Sequence[str]) -> list[Damage]:
    if container not in ("torch-zip", "torch-legacy", "torch-tar", "torchscript"):
        return []
    reasons = list(dict.fromkeys(refusals))
    refused: list[Global] = []
    if container == "torchscript":
        reasons = ["it is a TorchScript archive, which torch.jit.load reads"]
    elif container == "torch-tar":
        reasons = ["it is a tar archive from before 0.1.10"]
    else:
        refused = [name for name in names if str(name) not in WEIGHTS_ONLY]
        if refused:
            reasons.insert(0, f"it names {_listed(refused)}, which the restricted unpickler does not allow")
    if not reasons:
        return []
    message = f"torch.load(weights_only=True), the default since torch 2.6, refuses the file: {'; '.join(reasons)}"
    if any(str(name).startswith("numpy._core") for name in refused):
        message += "; numpy before 2 may not have numpy._core, and then loads the file in no way"
    by_name_only = refused and len(reasons) == 1
    return [Damage("not-weights-only", message, found=_listed(refused, 100) if by_name_only else None)]


def _listed(names: Sequence[Global], most: int = 5) -> str:
    text = ", ".join(shown(name) for name in names[:most])
    return text if len(names) <= most else f"{text} and {len(names) - most} more"
