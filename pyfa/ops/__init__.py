"""The kernels' own operations, one module for each room: device buffers in and out, encoded or run at once.

`pyfa.attention` is what most programs want; these show every parameter of a kernel family and compose in one
`pyfa.CommandEncoder`.
"""

from pyfa.ops._prefill import FlashAttnPrefillProblem
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

__all__ = [
    "FlashAttnPrefillBlkProblem",
    "FlashAttnPrefillMaskProblem",
    "FlashAttnPrefillProblem",
    "flash_attn_prefill",
    "flash_attn_prefill_blk",
    "flash_attn_prefill_blk_bytes",
    "flash_attn_prefill_blk_explain",
    "flash_attn_prefill_d512",
    "flash_attn_prefill_d512_explain",
    "flash_attn_prefill_explain",
    "flash_attn_prefill_mask",
    "flash_attn_prefill_mask_explain",
]
