"""Train the language model of bytes that `python -m pyfa eval` judges codecs on.

Run: python examples/train_lm.py --minutes 30 --output byte_lm.safetensors

It needs PyTorch, rich and safetensors. The text is the source of Python's standard library, without the modules that
`pyfa._lm.corpus` holds out. The learning rate follows the time (or steps) that is given, so the run ends where it
should; interrupted, it keeps the last checkpoint.
"""

from __future__ import annotations

import argparse
import platform
import time
from pathlib import Path

import torch
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn
from safetensors.torch import save_file
from torch import nn
from torch.nn import functional

from pyfa._lm.config import Config
from pyfa._lm.corpus import modules

TOKENS_PER_STEP = 2048
LENGTHS = ((0.5, 256), (0.8, 512), (1.0, 1024))
"""Until which part of the run, how long sequences are: short ones are cheaper and teach most of it."""
WARM_UP, FINAL_RATE = 0.02, 0.02
"""Parts of the run and of the highest learning rate."""
MATRIX_RATE, OTHER_RATE = 6e-3, 3e-3
LICENCE = (
    "The weights are under pyfa's licence. The text they were trained on, Python's standard library, "
    "is under the PSF licence and not part of them."
)


class Model(nn.Module):
    """The network, with its tensors under the names of `Config.shapes`."""

    def __init__(self, config: Config) -> None:
        super().__init__()
        self.config = config
        self.tensors: dict[str, nn.Parameter] = {}
        for name, shape in config.shapes().items():
            if len(shape) == 1:
                start = torch.ones(shape)
            elif name == "embed":
                start = torch.randn(shape)
            elif name.endswith((".o", ".down", "head")):
                start = torch.zeros(shape)  # each layer begins as nothing
            else:
                start = torch.randn(shape) * shape[1] ** -0.5
            self.tensors[name] = nn.Parameter(start)
            self.register_parameter(name.replace(".", "_"), self.tensors[name])

    def forward(self, ids: torch.Tensor) -> torch.Tensor:
        """Logits [B, L, 256] of the byte after each of `ids` [B, L]."""
        config, tensors = self.config, self.tensors
        batch, length = ids.shape
        cos, sin = rotary(config, length)

        def norm(x: torch.Tensor, name: str) -> torch.Tensor:
            return functional.rms_norm(x, (config.width,), tensors[name], config.eps)

        def heads(x: torch.Tensor, name: str) -> torch.Tensor:
            return functional.linear(x, tensors[name]).view(batch, length, -1, config.head_dim).transpose(1, 2)

        x = tensors["embed"][ids]
        for layer in (f"layers.{i}." for i in range(config.layers)):
            y = norm(x, f"{layer}attention_norm")
            q, k, v = (heads(y, layer + name) for name in ("q", "k", "v"))
            q, k = (rotate(t, cos, sin).to(v.dtype) for t in (q, k))
            k, v = (t.repeat_interleave(config.heads // config.kv_heads, dim=1) for t in (k, v))
            out = functional.scaled_dot_product_attention(q, k, v, is_causal=True)
            x = x + functional.linear(out.transpose(1, 2).reshape(batch, length, -1), tensors[f"{layer}o"])
            y = norm(x, f"{layer}mlp_norm")
            y = functional.silu(functional.linear(y, tensors[f"{layer}gate"])) * functional.linear(
                y, tensors[f"{layer}up"]
            )
            x = x + functional.linear(y, tensors[f"{layer}down"])
        return functional.linear(norm(x, "norm"), tensors["head"])


def rotary(config: Config, length: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Cosines and sines [length, D / 2] of the rotary positions."""
    half = config.head_dim // 2
    angles = torch.outer(torch.arange(length), config.rope_base ** -(torch.arange(half) / half))
    return angles.cos(), angles.sin()


def rotate(x: torch.Tensor, cos: torch.Tensor, sin: torch.Tensor) -> torch.Tensor:
    """Turn the pairs (i, i + D / 2) of each head."""
    a, b = x.chunk(2, dim=-1)
    return torch.cat((a * cos - b * sin, b * cos + a * sin), dim=-1)


def learning_rate(progress: float) -> float:
    """Part of the highest rate: a short warm-up, then half a cosine."""
    if progress < WARM_UP:
        return progress / WARM_UP
    wave = torch.cos(torch.tensor((progress - WARM_UP) / (1 - WARM_UP) * torch.pi)).item()
    return FINAL_RATE + (1 - FINAL_RATE) * 0.5 * (1 + wave)


def sample(text: torch.Tensor, length: int, generator: torch.Generator) -> tuple[torch.Tensor, torch.Tensor]:
    """Draw random stretches of the text and, for each of their bytes, the next."""
    starts = torch.randint(len(text) - length - 1, (TOKENS_PER_STEP // length, 1), generator=generator)
    stretch = text[starts + torch.arange(length + 1)].long()
    return stretch[:, :-1], stretch[:, 1:]


def bits_per_byte(model: Model, text: torch.Tensor, windows: int = 8) -> float:
    """Mean over windows spread evenly over a text, in full precision."""
    length = model.config.context
    starts = torch.linspace(0, len(text) - length - 1, windows).long()[:, None]
    total = 0.0
    with torch.no_grad():
        for stretch in text[starts + torch.arange(length + 1)].long().split(4):
            logits = model(stretch[:, :-1]).flatten(0, 1).float()
            total += functional.cross_entropy(logits, stretch[:, 1:].flatten(), reduction="sum").item()
    return total / (windows * length * torch.log(torch.tensor(2.0)).item())


def optimizers(model: Model) -> list[torch.optim.Optimizer]:
    """Muon for the matrices within the layers, Adam for all else."""
    inner = [p for name, p in model.tensors.items() if p.ndim == 2 and name.startswith("layers.")]
    outer = [p for name, p in model.tensors.items() if p.ndim == 1 or not name.startswith("layers.")]
    return [
        torch.optim.Muon(inner, lr=MATRIX_RATE, momentum=0.95, weight_decay=0.05, adjust_lr_fn="match_rms_adamw"),
        torch.optim.AdamW(outer, lr=OTHER_RATE, betas=(0.9, 0.97), weight_decay=0.0),
    ]


def save(model: Model, path: Path, facts: dict[str, str]) -> None:
    """Write the weights as f16, in one step, with all that tells how they were made."""
    half = {name: p.detach().to(torch.float16).contiguous() for name, p in model.tensors.items()}
    new = path.with_suffix(".new")
    save_file(half, new, metadata={"kind": "pyfa byte language model"} | model.config.to_metadata() | facts)
    new.replace(path)


def text_of(*, held_out: bool) -> torch.Tensor:
    """Modules one after the other, as bytes."""
    return torch.frombuffer(bytearray(b"".join(modules(held_out=held_out).values())), dtype=torch.uint8)


def main() -> None:
    """Train."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    budget = parser.add_mutually_exclusive_group()
    budget.add_argument("--minutes", type=float, default=30.0, help="how long to train (default: %(default)s)")
    budget.add_argument("--steps", type=int, help=f"or how many steps of {TOKENS_PER_STEP} bytes")
    parser.add_argument("--seed", type=int, default=0, help="of weights and samples (default: %(default)s)")
    parser.add_argument("--threads", type=int, default=torch.get_num_threads(), help="(default: %(default)s)")
    parser.add_argument("--precision", choices=("bf16", "f32"), default="bf16", help="of products while training")
    parser.add_argument("--report", type=int, default=100, metavar="N", help="save and report every N steps")
    parser.add_argument("--output", type=Path, default=Path("byte_lm.safetensors"), help="(default: %(default)s)")
    options = parser.parse_args()

    torch.set_num_threads(options.threads)
    torch.manual_seed(options.seed)
    generator = torch.Generator().manual_seed(options.seed)
    console = Console(highlight=False)
    text, unseen = text_of(held_out=False), text_of(held_out=True)
    model = Model(Config())
    rates = optimizers(model)
    highest = [group.param_groups[0]["lr"] for group in rates]
    console.print(f"{sum(p.numel() for p in model.parameters()):,} parameters, {len(text):,} bytes of text")

    columns = (TextColumn("{task.description}"), BarColumn(), TimeElapsedColumn(), TimeRemainingColumn())
    start, step, loss_sum = time.monotonic(), 0, 0.0
    with Progress(*columns, console=console, transient=True) as bar:
        task = bar.add_task("training", total=1.0)
        progress = 0.0
        while progress < 1.0:
            length = next(length for end, length in LENGTHS if progress < end)
            ids, following = sample(text, length, generator)
            with torch.autocast("cpu", torch.bfloat16, enabled=options.precision == "bf16"):
                logits = model(ids)
            loss = functional.cross_entropy(logits.flatten(0, 1).float(), following.flatten())
            loss.backward()
            nn.utils.clip_grad_norm_(model.parameters(), 1.0)
            for optimizer, rate in zip(rates, highest, strict=True):
                optimizer.param_groups[0]["lr"] = rate * learning_rate(progress)
                optimizer.step()
                optimizer.zero_grad()
            step += 1
            loss_sum += loss.item()
            seconds = time.monotonic() - start
            progress = step / options.steps if options.steps else seconds / (60 * options.minutes)
            bar.update(task, completed=progress)
            if step % options.report and progress < 1.0:
                continue
            seen = loss_sum / ((step - 1) % options.report + 1) / torch.log(torch.tensor(2.0)).item()
            loss_sum = 0.0
            held_out = bits_per_byte(model, unseen)
            facts = {
                "steps": step, "bytes_per_step": TOKENS_PER_STEP, "seconds": round(seconds), "seed": options.seed,
                "corpus_bytes": len(text), "corpus": "Python standard library", "python": platform.python_version(),
                "held_out_bits_per_byte": round(held_out, 4), "precision": options.precision, "licence": LICENCE,
            }  # fmt: skip
            save(model, options.output, {name: str(value) for name, value in facts.items()})
            console.print(
                f"step {step:6}  length {length:4}  {seen:.3f} bits per byte, held out {held_out:.3f}  "
                f"{step * TOKENS_PER_STEP / seconds:,.0f} bytes/s  {progress:4.0%}"
            )
    console.print(f"wrote {options.output}, {options.output.stat().st_size:,} bytes")


if __name__ == "__main__":
    main()
