"""Names are judged as torch's restricted unpickler and common sense judge them."""

from __future__ import annotations

import pickle

import pytest
import torch
from hypothesis import given, settings

from ckpt_doctor.readers import open_checkpoint
from ckpt_doctor.readers.safety import judge
from ckpt_doctor.types import Global
from tests.readers.strategies import values
from tests.readers.torch_files import save


@settings(max_examples=60)
@given(values)
def test_not_weights_only_is_what_torch_refuses(tmp_path_factory, value):
    """The finding is there exactly when `torch.load(weights_only=True)` refuses the file's names or opcodes."""
    path = save(tmp_path_factory.mktemp("wo") / "f", value)
    try:
        torch.load(path, weights_only=True)
        refused = False
    except Exception as error:
        refused = "Weights only load failed" in str(error)
    assert refused == open_checkpoint(path).is_damaged("not-weights-only")


@pytest.mark.parametrize(
    ("module", "name", "expected"),
    [
        ("torch._utils", "_rebuild_tensor_v2", "allowed"),
        ("torch.nn.modules.linear", "Linear", "known"),
        ("torch.nn.functional", "relu", "known"),
        ("numpy._core.multiarray", "scalar", "known"),
        ("numpy", "float64", "known"),
        ("argparse", "Namespace", "known"),
        ("pathlib", "PosixPath", "known"),
        ("deepspeed.runtime.fp16.loss_scaler", "LossScaler", "unknown"),
        ("__main__", "Net", "unknown"),
        ("transformers.trainer_pt_utils", "TrainerState", "unknown"),
        ("os", "system", "dangerous"),
        ("posix", "popen", "dangerous"),
        ("builtins", "eval", "dangerous"),
        ("builtins", "getattr", "dangerous"),
        ("random", "_os.system", "dangerous"),
        ("os\r", "system\r", "dangerous"),
        ("torch", "load", "dangerous"),
        ("torch.serialization", "load", "dangerous"),
        ("torch.hub", "load", "dangerous"),
        ("torch.fx.graph_module", "reduce_graph_module", "dangerous"),
        ("torch.utils.collect_env", "run", "dangerous"),
        ("numpy.testing._private.utils", "runstring", "dangerous"),
        ("functools", "partial", "known"),
        ("zoneinfo", "ZoneInfo._unpickle", "known"),
        ("_io", "BytesIO", "known"),
        ("torch", "tanh", "known"),
        ("torch", "Tensor.relu", "known"),
        ("torch", "bfloat16", "allowed"),
        ("torch.ao.quantization.observer", "default_observer", "known"),
        ("torch.utils.data._utils.collate", "default_collate", "known"),
        ("typing", "Any", "known"),
        ("typing", "Optional", "known"),
        ("_operator", "getitem", "known"),
        ("optparse", "Values", "known"),
        ("configparser", "ConfigParser", "known"),
        ("contextlib", "nullcontext", "known"),
        ("typing", "ForwardRef", "dangerous"),
        ("abc", "ABCMeta", "dangerous"),
        ("enum", "EnumType", "dangerous"),
        ("configparser", "ConfigParser.read", "dangerous"),
        ("functools", "reduce", "dangerous"),
        ("operator", "attrgetter", "dangerous"),
        ("torch", "_import_dotted_name", "dangerous"),
        ("torch", "ops.import_module", "dangerous"),
        ("torch", "storage._load_from_bytes", "dangerous"),
        ("torch", "os", "dangerous"),
        ("torch", "PyTorchFileWriter", "dangerous"),
        ("torch.distributed._tensor", "import_module", "dangerous"),
        ("torch.ao.quantization.utils", "getattr_from_fqn", "dangerous"),
        ("torch.distributed.distributed_c10d", "_tensor_to_object", "dangerous"),
        ("torch.utils.data.datapipes.datapipe", "_IterDataPipeSerializationWrapper", "dangerous"),
        ("torch.utils.file_baton", "FileBaton.try_acquire", "dangerous"),
        ("_frozen_importlib", "_gcd_import", "dangerous"),
        ("copy", "_reconstruct", "dangerous"),
        ("itertools", "starmap", "dangerous"),
        ("dataclasses", "_create_fn", "dangerous"),
        ("typing", "get_type_hints", "dangerous"),
        ("site", "addsitedir", "dangerous"),
        ("_xxsubinterpreters", "run_string", "dangerous"),
        ("test.support.script_helper", "assert_python_ok", "dangerous"),
        ("numpy.__init__", "load", "dangerous"),
        ("numpy", "ndarray.tofile", "dangerous"),
        ("numpy._core.multiarray", "fromfile", "dangerous"),
        ("sympy", "sympify", "dangerous"),
        ("jinja2.utils", "import_string", "dangerous"),
        ("fsspec.implementations.local", "LocalFileSystem.touch", "dangerous"),
        ("pip", "main", "dangerous"),
        ("", "", "dangerous"),
    ],
)
def test_judgements(module, name, expected):
    """One name each of what is met in the wild."""
    assert expected == judge(Global(module, name))


def test_unknown_packages_are_named(tmp_path):
    """One finding per package, with its classes."""
    path = tmp_path / "f.pkl"
    path.write_bytes(b"(cdeepspeed.a\nA\ncdeepspeed.b\nB\nc__main__\nNet\nt.")
    found = [damage for damage in open_checkpoint(path).damage if damage.kind == "unknown-global"]
    assert ["deepspeed.a.A, deepspeed.b.B", "__main__.Net"] == [damage.found for damage in found]
    assert "'deepspeed'" in found[0].message


def test_the_call_of_a_packages_instance_is_a_call_of_the_package(tmp_path):
    """PyTorch Geometric's Batch is made so. What was made of anything that the file says may be anything."""
    start = b"\x80\x02ctorch_geometric.data.batch\nDynamicInheritanceGetter\n"
    for call, expected in ((b")\x81)R.", "foreign-call"), (b"X\x01\x00\x00\x00a\x85\x81)R.", "dangerous-global")):
        (tmp_path / "b.pkl").write_bytes(start + call)
        kinds = [damage.kind for damage in open_checkpoint(tmp_path / "b.pkl").damage]
        assert [expected] == [kind for kind in kinds if kind != "unknown-global"]


def test_healthy_pickles_keep_their_peace(tmp_path):
    """Names that exploits use too, in the way in which real files have them."""
    import functools
    import io
    import zoneinfo
    from collections import defaultdict, deque

    value = {
        "layer": functools.partial(torch.nn.LayerNorm, eps=1e-6),
        "queue": defaultdict(functools.partial(deque, maxlen=20)),
        "zone": zoneinfo.ZoneInfo("UTC"),
        "buffer": io.BytesIO(b"x"),
        "activation": torch.tanh,
        "function": torch.nn.functional.unfold,
        "error": ValueError("x"),
    }
    path = tmp_path / "a.pkl"
    path.write_bytes(pickle.dumps(value, 4))
    assert not open_checkpoint(path).is_damaged("dangerous-global")
    model = torch.nn.Sequential(torch.nn.Conv2d(3, 8, 3), torch.nn.BatchNorm2d(8), torch.nn.Flatten()).eval()
    torch.jit.trace(model, torch.randn(1, 3, 8, 8)).save(tmp_path / "traced.pt")
    assert not open_checkpoint(tmp_path / "traced.pt").is_damaged("dangerous-global")
