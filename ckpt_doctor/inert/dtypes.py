"""Names and sizes of PyTorch's element types, as pickles and safetensors headers spell them."""

from __future__ import annotations

# torch/storage.py, `_dtype_to_storage_type_map`: the storage classes that a persistent id may name.
STORAGE_DTYPES = {
    "FloatStorage": "float32",
    "DoubleStorage": "float64",
    "HalfStorage": "float16",
    "BFloat16Storage": "bfloat16",
    "LongStorage": "int64",
    "IntStorage": "int32",
    "ShortStorage": "int16",
    "CharStorage": "int8",
    "ByteStorage": "uint8",
    "BoolStorage": "bool",
    "ComplexFloatStorage": "complex64",
    "ComplexDoubleStorage": "complex128",
    "QUInt8Storage": "quint8",
    "QInt8Storage": "qint8",
    "QInt32Storage": "qint32",
    "QUInt4x2Storage": "quint4x2",
    "QUInt2x4Storage": "quint2x4",
    # torch/serialization.py, `_load.persistent_load`: an untyped storage counts bytes
    "UntypedStorage": "uint8",
    "TypedStorage": "uint8",
}

# c10/core/ScalarType.h, `elementSize`
ITEM_SIZES = {
    "float64": 8,
    "float32": 4,
    "float16": 2,
    "bfloat16": 2,
    "float8_e4m3fn": 1,
    "float8_e4m3fnuz": 1,
    "float8_e5m2": 1,
    "float8_e5m2fnuz": 1,
    "float8_e8m0fnu": 1,
    "float4_e2m1fn_x2": 1,
    "complex128": 16,
    "complex64": 8,
    "complex32": 4,
    "int64": 8,
    "int32": 4,
    "int16": 2,
    "int8": 1,
    "uint64": 8,
    "uint32": 4,
    "uint16": 2,
    "uint8": 1,
    "bool": 1,
    "quint8": 1,
    "qint8": 1,
    "qint32": 4,
    "quint4x2": 1,
    "quint2x4": 1,
    "bits8": 1,
    "bits16": 2,
    "bits1x8": 1,
    "bits2x4": 1,
    "bits4x2": 1,
    **{f"{sign}int{bits}": 1 for sign in ("", "u") for bits in range(1, 8)},
}

# torch.float etc. are second names of the same objects; a pickle written by hand may use them
ALIASES = {
    "float": "float32",
    "double": "float64",
    "half": "float16",
    "long": "int64",
    "int": "int32",
    "short": "int16",
}


STRUCT_CODES = {
    "float64": "d",
    "float32": "f",
    "float16": "e",
    "int64": "q",
    "int32": "i",
    "int16": "h",
    "int8": "b",
    "uint64": "Q",
    "uint32": "I",
    "uint16": "H",
    "uint8": "B",
    "bool": "?",
}
"""The types that Python's `struct` knows."""
PER_BYTE = {"quint4x2": 2, "quint2x4": 4}
"""Elements in a byte, of the types that torch packs while their shape counts each."""


def item_size(dtype: str) -> int:
    """Bytes of one element; 1 for a name that PyTorch does not have."""
    return ITEM_SIZES.get(dtype, 1)


def of_storage_class(name: str) -> str:
    """Element type of a storage class by its bare name: torch looks at nothing else (`UnpicklerWrapper.find_class`)."""
    return STORAGE_DTYPES.get(name, "uint8")
