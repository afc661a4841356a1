"""Every C function with arguments that cannot be used: a status and a message, never a crash."""

from __future__ import annotations

import re

import pytest

import pyfa
from pyfa._declarations import declarations, interface_text
from pyfa._ffi import ffi, header_directory, lib, string

HANDLES = ("device", "buffer", "pool", "registry", "encoder", "capture", "kv_cache")


def fallible():
    """Return the functions that give a status, by name."""
    text = declarations(interface_text(header_directory))
    names = re.findall(r"^fa_status (fa_\w+)\(", text, re.MULTILINE)
    return {name: ffi.typeof(getattr(lib, name)) for name in names}


FALLIBLE = fallible()
# These take nothing that could be wrong.
SOUND = {"fa_counters_reset"}


def nothing(kind):
    """Return null or zero of a parameter's type."""
    return ffi.NULL if kind.kind == "pointer" else 0


def handle_kind(kind):
    """Return the noun of a handle type, or None."""
    match = re.fullmatch(rf"(?:struct )?fa_({'|'.join(HANDLES)}) \*", kind.cname)
    return match and match[1]


def assert_refused(name, *arguments):
    assert getattr(lib, name)(*arguments) == lib.FA_INVALID_ARGUMENT
    operation, argument = string(lib.fa_last_error_operation()), string(lib.fa_last_error_argument())
    assert operation
    assert string(lib.fa_last_error()).startswith(f"{operation}: {argument}: expected ")


def test_there_are_functions():
    assert len(FALLIBLE) > 40


@pytest.mark.parametrize("name", sorted(set(FALLIBLE) - SOUND))
def test_nothing_at_all(name):
    if name.endswith(("_with_metal", "_wrap_metal")):
        status = getattr(lib, name)(*map(nothing, FALLIBLE[name].args))
        assert status in (lib.FA_INVALID_ARGUMENT, lib.FA_UNSUPPORTED)
    else:
        assert_refused(name, *map(nothing, FALLIBLE[name].args))


def made(device):
    """Make one handle of each kind."""
    encoder = pyfa.CommandEncoder(device)
    encoder.start_capture()
    objects = {
        "device": pyfa.Device(),
        "buffer": pyfa.Buffer.zeros(4, "float32", device=device),
        "pool": pyfa.BufferPool(device),
        "registry": pyfa.KernelRegistry(device),
        "capture": encoder.take_capture(),
        "kv_cache": pyfa.KVCache(2, 64, 4, device=device),
        "encoder": encoder,
    }
    return objects, {noun: ffi.cast(f"fa_{noun} *", item._cdata) for noun, item in objects.items()}


@pytest.mark.parametrize("noun", HANDLES)
@pytest.mark.parametrize("wrong", ["released", "of another kind", "foreign", "misaligned"])
def test_wrong_handles(noun, wrong, device):
    objects, handles = made(device)
    if wrong == "released":
        objects[noun].release()
        bad = handles[noun]
    elif wrong == "of another kind":
        bad = ffi.cast(f"fa_{noun} *", handles[HANDLES[HANDLES.index(noun) - 1]])
    else:
        bad = ffi.cast(f"fa_{noun} *", 0xDEADBEEF0 if wrong == "foreign" else 1)
    functions = {name: kind for name, kind in FALLIBLE.items() if kind.args and handle_kind(kind.args[0]) == noun}
    assert functions
    for name, kind in functions.items():
        rest = [handles.get(handle_kind(argument), nothing(argument)) for argument in kind.args[1:]]
        assert_refused(name, bad, *rest)


@pytest.mark.parametrize("name", sorted(name for name, kind in FALLIBLE.items() if any(map(handle_kind, kind.args))))
def test_live_handles_and_nothing_else(name, device):
    """No pointer is followed before it is looked at."""
    _objects, handles = made(device)
    kinds = FALLIBLE[name].args
    arguments = [handles[handle_kind(kind)] if handle_kind(kind) else nothing(kind) for kind in kinds]
    status = getattr(lib, name)(*arguments)
    if any(kind.kind == "pointer" and not handle_kind(kind) for kind in kinds):
        assert status == lib.FA_INVALID_ARGUMENT or name.endswith(("_with_metal", "_wrap_metal"))


def test_double_release(device):
    buffer = pyfa.Buffer.zeros(4, "float32", device=device)
    handle = ffi.cast("fa_buffer *", buffer._cdata)
    assert lib.fa_buffer_retain(handle) == lib.FA_OK
    buffer.release()
    assert lib.fa_buffer_fill(handle, 1) == lib.FA_OK
    assert lib.fa_buffer_release(handle) == lib.FA_OK
    assert_refused("fa_buffer_release", handle)
    assert_refused("fa_buffer_fill", handle, 1)


@pytest.mark.parametrize("value", [8, 255, 2**31])
def test_numbers_that_are_no_dtype(value, device):
    shape, out = ffi.new("int64_t[]", [4]), ffi.new("fa_buffer **")
    handle = device._cdata
    assert_refused("fa_buffer_create", handle, ffi.cast("fa_dtype", value), shape, 1, out)
    assert out[0] == ffi.NULL


@pytest.mark.parametrize("rank", [-1, 0, 9, 2**31 - 1])
def test_ranks_that_cannot_be(rank, device):
    shape, out = ffi.new("int64_t[]", [4] * 9), ffi.new("fa_buffer **")
    assert_refused("fa_buffer_create", device._cdata, lib.FA_F32, shape, rank, out)
    assert out[0] == ffi.NULL


def test_attention_with_null_data(device):
    args = ffi.new("fa_attention_args *")
    for name in ("q", "k", "v", "o"):
        tensor = getattr(args, name)
        tensor.rank, tensor.dtype = 4, lib.FA_F32
        tensor.shape = tensor.strides = [1, 1, 1, 64]
        tensor.strides = [64, 64, 64, 1]
    assert_refused("fa_attention", device._cdata, args)
    assert "q" in string(lib.fa_last_error_argument())


@pytest.mark.parametrize("field", ["layout", "rank", "dtype"])
def test_attention_with_numbers_out_of_range(field, qkv, device):
    args = ffi.new("fa_attention_args *")
    memory = [ffi.from_buffer(array) for array in qkv] + [ffi.new("float[]", qkv[0].size)]
    for name, array, data in zip("qkvo", (*qkv, qkv[0]), memory, strict=True):
        tensor = getattr(args, name)
        tensor.data, tensor.dtype, tensor.rank = data, lib.FA_F32, 4
        tensor.shape, tensor.strides = list(array.shape), [stride // 4 for stride in array.strides]
    assert lib.fa_attention(device._cdata, args) == lib.FA_OK
    for value in (77, -1) if field == "rank" else (77,):
        if field == "layout":
            args.layout = value
        else:
            setattr(args.q, field, value)
        assert_refused("fa_attention", device._cdata, args)


def test_last_error_is_of_the_last_failure(device):
    assert_refused("fa_buffer_fill", ffi.NULL, 0)
    assert string(lib.fa_last_error()) == "buffer_fill: buffer: expected a live fa_buffer handle, got null"
    assert lib.fa_device_retain(device._cdata) == lib.FA_OK
    assert lib.fa_device_release(device._cdata) == lib.FA_OK
    assert string(lib.fa_last_error_operation()) == "buffer_fill"


def test_sizes_of_unknown_structs():
    assert lib.fa_sizeof(ffi.cast("fa_struct_kind", 99)) == 0
