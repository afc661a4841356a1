"""The kernels' own operations, one module for each room: device buffers in and out, encoded or run at once.

`pyfa.attention` is what most programs want; these show every parameter of a kernel family and compose in one
`pyfa.CommandEncoder`.
"""

from pyfa.ops._prefill import FlashAttnPrefillProblem
from pyfa.ops.flash_attn_decode import flash_attn_decode
from pyfa.ops.flash_attn_prefill import flash_attn_prefill, flash_attn_prefill_explain
from pyfa.ops.flash_attn_prefill_blk import (
    FlashAttnPrefillBlkProblem,
    flash_attn_prefill_blk,
    flash_attn_prefill_blk_bytes,
    flash_attn_prefill_blk_explain,
)
from pyfa.ops.flash_attn_prefill_d512 import flash_attn_prefill_d512, flash_attn_prefill_d512_explain
from pyfa.ops.flash_attn_prefill_mask import (
    FlashAttnPrefillMaskProblem,
    flash_attn_prefill_mask,
    flash_attn_prefill_mask_explain,
)
from pyfa.ops.flash_attn_vec import flash_attn_vec, flash_attn_vec_reduce, flash_attn_vec_tq
from pyfa.ops.kv_codec import (
    KvFormat,
    fwht_standalone,
    hadamard_quantize_kv,
    kv_decode,
    kv_encode,
    kv_format,
    tq_dequantize_kv,
)

__all__ = [
    "FlashAttnPrefillBlkProblem",
    "FlashAttnPrefillMaskProblem",
    "FlashAttnPrefillProblem",
    "KvFormat",
    "flash_attn_decode",
    "flash_attn_prefill",
    "flash_attn_prefill_blk",
    "flash_attn_prefill_blk_bytes",
    "flash_attn_prefill_blk_explain",
    "flash_attn_prefill_d512",
    "flash_attn_prefill_d512_explain",
    "flash_attn_prefill_explain",
    "flash_attn_prefill_mask",
    "flash_attn_prefill_mask_explain",
    "flash_attn_vec",
    "flash_attn_vec_reduce",
    "flash_attn_vec_tq",
    "fwht_standalone",
    "hadamard_quantize_kv",
    "kv_decode",
    "kv_encode",
    "kv_format",
    "tq_dequantize_kv",
]
