"""The kernels' own operations, one module for each room: device buffers in and out, encoded or run at once.

`pyfa.attention` is what most programs want; these show every parameter of a kernel family and compose in one
`pyfa.CommandEncoder`.
"""

from pyfa.ops.flash_attn_prefill import (
    FlashAttnPrefillProblem,
    flash_attn_prefill,
    flash_attn_prefill_explain,
)

__all__ = ["FlashAttnPrefillProblem", "flash_attn_prefill", "flash_attn_prefill_explain"]
