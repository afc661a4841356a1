"""Attention under the names, signatures and conventions of other libraries.

`pyfa.compat.torch`, `pyfa.compat.mlx`, `pyfa.compat.flash_attn` and `pyfa.compat.flashinfer` each offer functions that
are called as the originals are and mean the same: layout, alignment of the causal mask, window, base of the
log-sum-exp. `pyfa.compat.transformers` makes pyfa an attention implementation of models. Import the one you need; only
those for PyTorch import it.

What an original can do and its adapter cannot (gradients, dropout) raises `pyfa.UnsupportedError`, which is a
`NotImplementedError`, and names the argument.
"""
