"""`pyfa.compat.torch`: torch's conventions against torch in float64."""

from __future__ import annotations

import shutil

import pytest

import pyfa
from tests.python import reference

torch = pytest.importorskip("torch")
from pyfa.compat import torch as adapter  # noqa: E402
from pyfa.compat.flash_attn import flash_attn_func  # noqa: E402

attend = adapter.scaled_dot_product_attention
DTYPES = {"f32": torch.float32, "f16": torch.float16, "bf16": torch.bfloat16}


@pytest.fixture(autouse=True)
def _seed():
    torch.manual_seed(0)


def operands(q, k, dtype=torch.float32):
    return torch.randn(q).to(dtype), torch.randn(k).to(dtype), torch.randn(k).to(dtype)


def check(q, k, v, mask=None, **options):
    """Compare with torch in float64; a row without keys is zero there too."""
    out = attend(q, k, v, mask, **options)
    wide = mask.double() if mask is not None and mask.dtype != torch.bool else mask
    expected = torch.nn.functional.scaled_dot_product_attention(q.double(), k.double(), v.double(), wide, **options)
    assert out.dtype == q.dtype
    assert out.is_contiguous()
    kind = {torch_name: name for name, torch_name in DTYPES.items()}[q.dtype]
    reference.assert_close(out.double().numpy(), expected.numpy(), reference.DTYPES[kind])
    return out


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("causal", [False, True])
def test_dtypes(dtype, causal):
    check(*operands((2, 4, 33, 64), (2, 4, 33, 64), DTYPES[dtype]), is_causal=causal)


@pytest.mark.parametrize(
    ("q", "k"),
    [
        ((5, 32), (9, 32)),
        ((3, 5, 32), (3, 9, 32)),
        ((2, 3, 5, 32), (2, 3, 9, 32)),
        ((2, 2, 3, 5, 32), (2, 2, 3, 9, 32)),
        ((1, 2, 1, 3, 5, 32), (2, 1, 2, 3, 9, 32)),
        ((1, 2, 3, 5, 32), (1, 3, 9, 32)),
        ((1, 2, 3, 5, 32), (2, 3, 9, 32)),
        ((5, 32), (2, 3, 9, 32)),
        ((2, 3, 5, 32), (9, 32)),
        ((2, 3, 5, 32), (1, 3, 9, 32)),
        ((2, 4, 5, 32), (2, 1, 9, 32)),
        ((2, 1, 5, 32), (2, 3, 9, 32)),
    ],
)
def test_ranks_and_broadcasting(q, k):
    check(*operands(q, k))
    check(*operands(q, k), is_causal=True)


@pytest.mark.parametrize("lengths", [(5, 9), (9, 5), (1, 40), (40, 1)])
def test_causal_is_aligned_to_the_top_left(lengths):
    q, k, v = operands((1, 2, lengths[0], 64), (1, 2, lengths[1], 64))
    out = check(q, k, v, is_causal=True)
    # The first row attends the first key alone.
    torch.testing.assert_close(out[:, :, 0], v[:, :, 0])


@pytest.mark.parametrize("shape", [(2, 8, 5, 64), (8, 5, 64), (2, 3, 8, 5, 64)])
def test_grouped_heads(shape):
    kv = (*shape[:-3], 2, 9, 64)
    check(*operands(shape, kv), enable_gqa=True)
    check(*operands(shape, kv), enable_gqa=True, is_causal=True)
    with pytest.raises(
        pyfa.InvalidArgumentError, match=r"^scaled_dot_product_attention: query, key, value: .*broadcast"
    ):
        attend(*operands(shape, kv))


def test_keys_and_values_have_as_many_heads():
    q, k, v = torch.randn(1, 8, 5, 64), torch.randn(1, 2, 9, 64), torch.randn(1, 4, 9, 64)
    for one, other in ((k, v), (v, k), (k[:, :1], v), (v, k[:, :1])):
        with pytest.raises(pyfa.InvalidArgumentError, match="^scaled_dot_product_attention: value: "):
            attend(q, one, other, enable_gqa=True)
    plain = torch.nn.functional.scaled_dot_product_attention(q, k[:, :1], v[:, :1].expand(-1, 8, -1, -1))
    torch.testing.assert_close(attend(q, k[:, :1], v[:, :1].expand(-1, 8, -1, -1)), plain)


MASKS = [(5, 9), (1, 9), (5, 1), (4, 5, 9), (1, 5, 9), (2, 1, 5, 9), (1, 4, 1, 9), (2, 4, 5, 9), (1, 1, 1, 1)]


def test_mask_of_one_dimension():
    q, k, v = operands((2, 4, 5, 64), (2, 4, 9, 64))
    mask = torch.rand(9) < 0.6
    assert torch.equal(attend(q, k, v, mask), check(q, k, v, mask[None]))


@pytest.mark.parametrize("shape", MASKS)
def test_masks_broadcast(shape):
    q, k, v = operands((2, 4, 5, 64), (2, 4, 9, 64))
    check(q, k, v, torch.rand(shape) < 0.6)
    check(q, k, v, torch.randn(shape))


@pytest.mark.parametrize("shape", [(5, 9), (4, 5, 9), (2, 1, 5, 9), (3, 1, 4, 5, 9), (1, 2, 1, 5, 1), (1, 1, 4, 1, 9)])
def test_masks_broadcast_over_more_dimensions(shape):
    q, k, v = operands((3, 2, 4, 5, 64), (3, 2, 4, 9, 64))
    check(q, k, v, torch.rand(shape) < 0.6)
    check(q, k, v, torch.randn(shape))


@pytest.mark.parametrize("dtype", ["f16", "bf16"])
def test_additive_mask_of_half_precision(dtype):
    q, k, v = operands((1, 4, 5, 64), (1, 4, 9, 64), DTYPES[dtype])
    check(q, k, v, torch.randn(4, 5, 9).to(DTYPES[dtype]))


def test_mask_of_strides():
    q, k, v = operands((1, 4, 5, 64), (1, 4, 9, 64))
    check(q, k, v, (torch.rand(9, 5) < 0.6).T)
    check(q, k, v, torch.rand(5, 1).expand(5, 9))


def test_bool_mask_keeps_what_is_true():
    q, k, v = operands((1, 1, 1, 32), (1, 1, 4, 32))
    only = torch.tensor([[False, False, True, False]])
    torch.testing.assert_close(attend(q, k, v, only)[0, 0, 0], v[0, 0, 2])


def test_rows_without_keys_are_zero():
    q, k, v = operands((1, 2, 5, 64), (1, 2, 9, 64))
    mask = torch.ones(5, 9, dtype=torch.bool)
    mask[2] = False
    out = check(q, k, v, mask)
    assert (out[:, :, 2] == 0).all()
    assert (attend(q, k, v, torch.full((5, 9), -torch.inf)) == 0).all()


@pytest.mark.parametrize(
    ("q", "k"), [((2, 0, 32), (2, 4, 32)), ((2, 4, 32), (2, 0, 32)), ((0, 2, 4, 32), (0, 2, 4, 32))]
)
def test_lengths_of_zero(q, k):
    assert torch.equal(attend(*operands(q, k)), torch.zeros(q))


def test_scale():
    check(*operands((1, 2, 5, 64), (1, 2, 9, 64)), scale=0.5)
    check(*operands((1, 2, 5, 64), (1, 2, 9, 64)), scale=-0.1)


def test_any_strides():
    q, k, v = operands((2, 20, 4, 64), (2, 20, 4, 64))
    check(q.transpose(1, 2), k.transpose(1, 2), v.transpose(1, 2), is_causal=True)
    packed = torch.randn(2, 30, 3, 4, 64)
    check(*(packed[:, :, index].transpose(1, 2) for index in range(3)))
    # Last dimensions that are not contiguous are copied.
    check(*(tensor.transpose(-1, -2) for tensor in operands((2, 4, 64, 9), (2, 4, 64, 9))))
    wide = torch.randn(3, 2, 5, 4, 64).permute(1, 0, 3, 2, 4)
    check(wide, wide, wide)


@pytest.mark.parametrize("dtype", DTYPES)
def test_memory_is_used_where_it_lies(monkeypatch, dtype):
    q, k, v = (tensor.transpose(1, 2) for tensor in operands((2, 20, 4, 64), (2, 20, 4, 64), DTYPES[dtype]))
    mask = torch.randn(20, 20).to(DTYPES[dtype])
    seen = []

    def record(*arrays, mask, out, **options):
        seen.extend([*arrays, mask, out])
        return pyfa.attention(*arrays, mask=mask, out=out, **options)

    monkeypatch.setattr(adapter, "attention", record)
    result = attend(q, k, v, mask)
    assert [array.__array_interface__["data"][0] for array in seen] == [x.data_ptr() for x in (q, k, v, mask, result)]


def test_no_gradients():
    q, k, v = operands((1, 2, 5, 64), (1, 2, 9, 64))
    mask = torch.randn(5, 9)
    plain = attend(q, k, v, mask)
    for index, name in enumerate(("query", "key", "value", "attn_mask")):
        tensors = [q, k, v, mask]
        tensors[index] = tensors[index].clone().requires_grad_()
        for function in (attend, torch.ops.pyfa.scaled_dot_product_attention):
            with pytest.raises(NotImplementedError, match=f"^scaled_dot_product_attention: {name}: .*no backward pass"):
                function(*tensors)
        for context in (torch.no_grad, torch.inference_mode):
            with context():
                out = attend(*tensors)
                assert torch.equal(out, plain)
                assert not out.requires_grad


def test_dropout_is_refused():
    q, k, v = operands((1, 2, 5, 64), (1, 2, 9, 64))
    with pytest.raises(NotImplementedError, match="^scaled_dot_product_attention: dropout_p: .*got 0.1"):
        attend(q, k, v, dropout_p=0.1)


def bad(error, match, **changes):
    q, k, v = operands((1, 2, 5, 64), (1, 2, 9, 64))
    arguments = {"query": q, "key": k, "value": v}
    arguments |= {name: change(arguments.get(name)) for name, change in changes.items()}
    with pytest.raises(error, match="^scaled_dot_product_attention: " + match):
        attend(**arguments)


def test_bad_input_is_named():
    invalid, unsupported = pyfa.InvalidArgumentError, pyfa.UnsupportedError
    bad(invalid, "key: expected the dtype of query, torch.float32, got torch.float16", key=lambda x: x.half())
    bad(
        unsupported,
        "query: .*float32",
        query=lambda x: x.double(),
        key=lambda x: x.double(),
        value=lambda x: x.double(),
    )
    bad(unsupported, "value: expected vectors as wide as those of query, 64, got 32", value=lambda x: x[..., :32])
    bad(invalid, "key: ", key=lambda x: x[..., :32])
    bad(invalid, "value: ", value=lambda x: x[:, :, :7])
    bad(invalid, "query: expected two dimensions or more, got 1", query=lambda x: x[0, 0, 0])
    bad(invalid, "query, key, value: .*broadcast", key=lambda x: torch.cat([x, x, x], 1))
    bad(
        invalid,
        "attn_mask: expected None together with is_causal",
        attn_mask=lambda _: torch.ones(5, 9),
        is_causal=lambda _: True,
    )
    bad(invalid, "attn_mask: ", attn_mask=lambda _: torch.ones(4, 9))
    bad(invalid, "attn_mask: ", attn_mask=lambda _: torch.ones(5, 9).half())
    bad(invalid, "attn_mask: .*broadcast", attn_mask=lambda _: torch.ones(3, 2, 5, 9))
    bad(invalid, "attn_mask: .*broadcast", attn_mask=lambda _: torch.ones(2, 1, 2, 5, 9))
    bad(unsupported, "head_dim: ", **dict.fromkeys(("query", "key", "value"), lambda x: x[..., :33].contiguous()))
    bad(invalid, "query: .*enable_gqa", query=lambda x: x[0, 0], enable_gqa=lambda _: True)


SAMPLES = {
    "plain": ((2, 4, 5, 64), (2, 4, 9, 64), None, {}),
    "causal": ((4, 5, 64), (4, 9, 64), None, {"is_causal": True, "scale": 0.3}),
    "mask": ((2, 4, 5, 64), (2, 4, 9, 64), (4, 5, 9), {}),
    "gqa": ((2, 4, 5, 64), (2, 2, 9, 64), (5, 9), {"enable_gqa": True}),
    "five": ((2, 3, 4, 5, 64), (2, 3, 4, 9, 64), None, {}),
    "two": ((5, 64), (9, 64), None, {}),
}


@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning")
@pytest.mark.parametrize("sample", SAMPLES)
def test_opcheck(sample):
    q, k, mask, options = SAMPLES[sample]
    tensors = operands(q, k)
    arguments = tensors if mask is None else (*tensors, torch.rand(mask) < 0.5)
    torch.library.opcheck(torch.ops.pyfa.scaled_dot_product_attention.default, arguments, options)


@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning")
@pytest.mark.parametrize("dynamic", [False, True])
@pytest.mark.parametrize("backend", ["aot_eager", "inductor"])
def test_compiles_into_one_graph(backend, dynamic):
    if backend == "inductor" and not any(map(shutil.which, ("g++", "clang++"))):
        pytest.skip("inductor needs a C++ compiler")

    def layer(q, k, v):
        return attend(q * 2, k, v, is_causal=True, enable_gqa=True).transpose(1, 2) + 1

    compiled = torch.compile(layer, fullgraph=True, dynamic=dynamic, backend=backend)
    for length in (5, 6):
        tensors = operands((2, 4, length, 64), (2, 2, 9, 64))
        torch.testing.assert_close(compiled(*tensors), layer(*tensors))


@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning")
def test_compiled_code_has_no_gradient_either():
    q, k, v = operands((1, 2, 5, 64), (1, 2, 9, 64))
    compiled = torch.compile(attend, fullgraph=True, backend="aot_eager")
    with pytest.raises(Exception, match="no backward pass"):
        compiled(q.requires_grad_(), k, v)


@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning")
def test_exports_with_lengths_left_open():
    class Layer(torch.nn.Module):
        def forward(self, q, k, v):
            return attend(q, k, v, is_causal=True, enable_gqa=True)

    length = torch.export.Dim("length", min=2, max=50)
    exported = torch.export.export(
        Layer(), operands((2, 4, 5, 64), (2, 2, 9, 64)), dynamic_shapes=({2: length}, None, None)
    )
    assert "pyfa.scaled_dot_product_attention" in str(exported.graph)
    tensors = operands((2, 4, 7, 64), (2, 2, 9, 64))
    assert torch.equal(exported.module()(*tensors), Layer()(*tensors))


def test_describes_results_without_memory():
    for q, k, mask, options in SAMPLES.values():
        real = operands(q, k)
        there = None if mask is None else torch.ones(mask, dtype=torch.bool)
        meta = attend(*(x.to("meta") for x in real), None if mask is None else there.to("meta"), **options)
        assert (meta.shape, meta.device.type) == (attend(*real, there, **options).shape, "meta")


def test_threads_may_share_it():
    from concurrent.futures import ThreadPoolExecutor

    problems = [operands((1, 4, 30 + index, 64), (1, 4, 40, 64)) for index in range(16)]
    with ThreadPoolExecutor(4) as pool:
        results = list(pool.map(lambda problem: attend(*problem), problems))
    for result, problem in zip(results, problems, strict=True):
        assert torch.equal(result, attend(*problem))


def test_what_is_no_plain_tensor():
    class Named(torch.Tensor):
        pass

    q, k, v = operands((1, 2, 5, 64), (1, 2, 9, 64))
    plain = attend(q, k, v)
    assert torch.equal(attend(torch.nn.Parameter(q, requires_grad=False), k, v), plain)
    assert torch.equal(torch.Tensor(attend(q.as_subclass(Named), k, v)), plain)
    negated = torch.complex(torch.zeros_like(q), -q).conj().imag
    assert negated.is_neg()
    assert torch.equal(attend(negated, k, v), plain)
    with pytest.raises(pyfa.InvalidArgumentError, match="^flash_attn_func: q: .*resolve_neg"):
        flash_attn_func(negated, k, v)
    sliced = torch.randn(1, 2, 5, 64).to_sparse()
    with pytest.raises(NotImplementedError, match="Sparse"):
        attend(sliced, k, v)


def test_result_is_torchs_own_memory():
    out = attend(*operands((1, 2, 5, 64), (1, 2, 9, 64)))
    # What another library lends or borrows cannot grow.
    assert out.resize_(1, 2, 50, 64).shape == (1, 2, 50, 64)


def test_operands_can_still_be_resized():
    q, k, v = operands((1, 2, 5, 64), (1, 2, 9, 64))
    attend(q, k, v)
    assert q.resize_(1, 2, 50, 64).shape == (1, 2, 50, 64)
