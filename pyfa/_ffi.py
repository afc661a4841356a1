"""The C library: its header parsed by cffi (ABI mode), the library loaded and compared with it, status to exception.

``flash_attn.h`` is the only declaration of the interface, so nothing of it is repeated here: enumerators, structs and
prototypes are what the header says.
"""

from __future__ import annotations

import functools
import operator
import os
import sys
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any, TypeAlias

from pyfa import _declarations, _errors

CData: TypeAlias = Any
"""A cffi value; cffi has no static types of its own."""

_PACKAGE = Path(__file__).resolve().parent
_NATIVE = _PACKAGE / "_native"
_STRUCTS = {
    "FA_STRUCT_ATTN_PARAMS": "fa_attn_params",
    "FA_STRUCT_ATTN_MASK_PARAMS": "fa_attn_mask_params",
    "FA_STRUCT_DEVICE_INFO": "fa_device_info",
    "FA_STRUCT_BUFFER_INFO": "fa_buffer_info",
    "FA_STRUCT_POOL_INFO": "fa_pool_info",
    "FA_STRUCT_CONSTANT": "fa_constant",
    "FA_STRUCT_ARGUMENT": "fa_argument",
    "FA_STRUCT_DISPATCH": "fa_dispatch",
    "FA_STRUCT_NODE_INFO": "fa_node_info",
    "FA_STRUCT_COUNTERS": "fa_counters",
    "FA_STRUCT_PREFILL_PROBLEM": "fa_flash_attn_prefill_problem",
    "FA_STRUCT_PREFILL_BUFFERS": "fa_flash_attn_prefill_buffers",
    "FA_STRUCT_TENSOR": "fa_tensor",
    "FA_STRUCT_ATTENTION": "fa_attention_args",
    "FA_STRUCT_ATTN_WINDOW_PARAMS": "fa_attn_window_params",
    "FA_STRUCT_ATTN_BLK_PARAMS": "fa_attn_blk_params",
    "FA_STRUCT_BLK_PARAMS": "fa_blk_params",
    "FA_STRUCT_MASK_FILL_PARAMS": "fa_mask_fill_params",
    "FA_STRUCT_BLK_PROBLEM": "fa_flash_attn_prefill_blk_problem",
    "FA_STRUCT_MASK_PROBLEM": "fa_flash_attn_prefill_mask_problem",
    "FA_STRUCT_FWHT_PARAMS": "fa_fwht_params",
    "FA_STRUCT_HADAMARD_QUANTIZE_KV_PARAMS": "fa_hadamard_quantize_kv_params",
    "FA_STRUCT_HADAMARD_QUANTIZE_KV_HB_PARAMS": "fa_hadamard_quantize_kv_hb_params",
    "FA_STRUCT_TQ_DEQUANTIZE_KV_PARAMS": "fa_tq_dequantize_kv_params",
    "FA_STRUCT_TQ_DEQUANTIZE_HB_KV_PARAMS": "fa_tq_dequantize_hb_kv_params",
    "FA_STRUCT_KV_ENCODE_PARAMS": "fa_kv_encode_params",
    "FA_STRUCT_KV_DECODE_PARAMS": "fa_kv_decode_params",
    "FA_STRUCT_VEC_PARAMS": "fa_vec_params",
    "FA_STRUCT_VEC_PEER_PORT_PARAMS": "fa_vec_peer_port_params",
    "FA_STRUCT_VEC_TQ_PARAMS": "fa_vec_tq_params",
    "FA_STRUCT_VEC_TQ_HB_PARAMS": "fa_vec_tq_hb_params",
    "FA_STRUCT_VEC_REDUCE_PARAMS": "fa_vec_reduce_params",
    "FA_STRUCT_DECODE_BATCH": "fa_decode_batch",
    "FA_STRUCT_FWHT_PROBLEM": "fa_fwht_problem",
    "FA_STRUCT_KV_ENCODE_PROBLEM": "fa_kv_encode_problem",
    "FA_STRUCT_KV_DECODE_PROBLEM": "fa_kv_decode_problem",
    "FA_STRUCT_HADAMARD_QUANTIZE_KV_PROBLEM": "fa_hadamard_quantize_kv_problem",
    "FA_STRUCT_TQ_DEQUANTIZE_KV_PROBLEM": "fa_tq_dequantize_kv_problem",
    "FA_STRUCT_VEC_PROBLEM": "fa_flash_attn_vec_problem",
    "FA_STRUCT_VEC_BUFFERS": "fa_flash_attn_vec_buffers",
    "FA_STRUCT_VEC_REDUCE_PROBLEM": "fa_flash_attn_vec_reduce_problem",
    "FA_STRUCT_KV_FORMAT_INFO": "fa_kv_format_info",
    "FA_STRUCT_KV_CACHE_CONFIG": "fa_kv_cache_config",
    "FA_STRUCT_KV_CACHE_INFO": "fa_kv_cache_info",
    "FA_STRUCT_KV_CACHE_QUERIES": "fa_kv_cache_queries",
    "FA_STRUCT_DECODE_PARAMS": "fa_decode_params",
    "FA_STRUCT_DECODE_PROBLEM": "fa_flash_attn_decode_problem",
    "FA_STRUCT_DECODE_BUFFERS": "fa_flash_attn_decode_buffers",
    "FA_STRUCT_SHADER_OPTIONS": "fa_shader_options",
    "FA_STRUCT_ATTN_ALIBI_PARAMS": "fa_attn_alibi_params",
    "FA_STRUCT_ATTN_PAGE_PARAMS": "fa_attn_page_params",
    "FA_STRUCT_ATTENTION_VARLEN": "fa_attention_varlen_args",
    "FA_STRUCT_DECODE_PAGES": "fa_decode_pages",
    "FA_STRUCT_KV_PAGES": "fa_kv_pages",
    "FA_STRUCT_KV_CACHE_BUFFERS": "fa_kv_cache_buffers",
}


def _header_directory() -> Path:
    """Return where the headers are: in a wheel with the library, in a checkout beside the package."""
    choices = (_NATIVE / "include", _PACKAGE.parent / "Sources" / "CFlashAttn" / "include")
    for directory in choices:
        if (directory / _declarations.INTERFACE).is_file():
            return directory
    raise ImportError(f"pyfa: no {_declarations.INTERFACE} in {choices[0]} or {choices[1]}; the installation is broken")


def _declared(directory: Path) -> Any:
    """Return cffi's reading of the headers: as the wheel has it, where that is of these headers, else made now."""
    try:
        text = _declarations.interface_text(directory)
    except FileNotFoundError as error:
        raise ImportError(f"pyfa: no {error.filename}, which {_declarations.INTERFACE} includes") from error
    file = _NATIVE / _declarations.PARSED
    module = file.read_text(encoding="utf-8") if file.is_file() else ""
    names: dict[str, Any] = {}
    exec(module if _declarations.is_parsed(module, text) else _declarations.parsed(text), names)  # noqa: S102 (its own words)
    return names["ffi"]


def _find_library() -> Path:
    override = os.environ.get("PYFA_LIBRARY")
    if override:
        return Path(override)
    name = "libpyfa.dylib" if sys.platform == "darwin" else "libpyfa.so"
    if (_NATIVE / name).is_file():
        return _NATIVE / name
    raise ImportError(
        f"pyfa: no {name} in {_NATIVE}; in a checkout run `make lib`, or set PYFA_LIBRARY to a built library"
    )


def _load(path: Path) -> CData:
    """Open the library and make sure it was built from the header that was parsed."""
    try:
        library = ffi.dlopen(os.fspath(path))
        found: int = library.fa_abi_version()
    except (OSError, AttributeError, ffi.error) as error:
        raise ImportError(f"pyfa: {path} is not a usable libpyfa: {error}") from error
    if found != library.FA_ABI_VERSION:
        raise ImportError(f"pyfa: {path} has ABI version {found}, the header has {library.FA_ABI_VERSION}")
    for name, kind in ffi.typeof("fa_struct_kind").relements.items():
        struct = _STRUCTS[name]
        built, parsed = library.fa_sizeof(kind), ffi.sizeof(struct)
        if built != parsed:
            raise ImportError(f"pyfa: {path} was built with {built} bytes of {struct}, the header says {parsed}")
    return library


header_directory = _header_directory()
ffi = _declared(header_directory)
library_path = _find_library()
lib = _load(library_path)

_EXCEPTIONS: dict[int, type[_errors.PyfaError]] = {
    lib.FA_INVALID_ARGUMENT: _errors.InvalidArgumentError,
    lib.FA_UNSUPPORTED: _errors.UnsupportedError,
    lib.FA_DEVICE_NOT_FOUND: _errors.DeviceError,
    lib.FA_ALLOCATION_FAILED: _errors.DeviceError,
    lib.FA_KERNEL_NOT_FOUND: _errors.KernelNotFoundError,
    lib.FA_COMPILE_FAILED: _errors.CompileError,
    lib.FA_COMMAND_FAILED: _errors.DeviceError,
    lib.FA_SHADER_CHECK: _errors.ShaderCheckError,
    lib.FA_IO: _errors.FileError,
}


def string(text: CData) -> str:
    """Copy a C string; a null pointer is the empty string."""
    return ffi.string(text).decode("utf-8", "replace") if text else ""


def check(status: int) -> None:
    """Raise what the calling thread's last failure was, if ``status`` is one."""
    if status:
        raise _EXCEPTIONS.get(status, _errors.InternalError)(
            string(lib.fa_last_error()),
            operation=string(lib.fa_last_error_operation()),
            argument=string(lib.fa_last_error_argument()),
            log=string(lib.fa_last_error_log()),
        )


def result(ctype: str, function: Callable[..., int], *arguments: object) -> CData:
    """Call a function whose last parameter is ``ctype *out`` and return what it wrote."""
    out = ffi.new(_pointer(ctype))
    check(function(*arguments, out))
    return out[0]


@functools.cache
def _pointer(ctype: str) -> Any:
    return ffi.typeof(f"{ctype} *")


def choices(enum: str, prefix: str) -> dict[str, int]:
    """Return an enum of the header by lower-case names: ``FA_OP_SOFTMAX`` is ``"softmax"``."""
    return {name.removeprefix(prefix).lower(): value for value, name in sorted(ffi.typeof(enum).elements.items())}


def choose(operation: str, argument: str, table: dict[str, int], value: object) -> int:
    """Look an option up in its table."""
    found = table.get(value) if isinstance(value, str) else None
    if found is None:
        names = ", ".join(repr(name) for name in table)
        raise _errors.invalid(operation, argument, f"one of {names}", repr(value))
    return found


def text(operation: str, argument: str, value: object) -> CData:
    """Copy a str into C memory that lives as long as the result."""
    if not isinstance(value, str) or "\0" in value:
        raise _errors.invalid(operation, argument, "a str without NUL", repr(value))
    return ffi.new("char[]", value.encode("utf-8"))


def integer(operation: str, argument: str, value: object, bits: int = 64) -> int:
    """Convert anything with ``__index__`` to a signed integer of so many bits."""
    try:
        number = operator.index(value)  # type: ignore[arg-type]
    except TypeError:
        raise _errors.invalid(operation, argument, "an integer", repr(value)) from None
    limit = 1 << (bits - 1)
    if not -limit <= number < limit:
        raise _errors.invalid(operation, argument, f"an integer of {bits} bits", str(number))
    return number


def integers(operation: str, argument: str, values: object) -> list[int]:
    """Convert one integer or a sequence of them."""
    if isinstance(values, Iterable) and not isinstance(values, (str, bytes)):
        return [integer(operation, argument, value) for value in values]
    return [integer(operation, argument, values)]


def pack_struct(name: str, /, **fields: Any) -> bytes:
    """Fill a struct of the C header, for a kernel argument that is bytes.

    Parameters
    ----------
    name : str
        The struct's name in ``flash_attn_params.h`` or ``flash_attn.h``.
    **fields
        Its fields; those left out are zero.

    Returns
    -------
    bytes
        The struct as the kernels read it.

    Raises
    ------
    InvalidArgumentError
        No such struct or field, or a value that the field cannot hold.

    Examples
    --------
    >>> len(pyfa.pack_struct("fa_attn_mask_params", M_strides=[0, 0, 64]))
    24
    """
    try:
        return bytes(ffi.buffer(ffi.new(f"{name} *", fields)))
    except (ffi.error, LookupError, TypeError, ValueError, OverflowError) as error:
        raise _errors.invalid("pack_struct", str(name), "a struct of the header and its fields", str(error)) from error
