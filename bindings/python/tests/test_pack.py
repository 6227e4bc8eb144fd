import numpy as np
import pytest

import qdisp


def codes_of(packed, n_columns, bits):
    """The codes by numpy: bits, lowest first, in groups."""
    stream = np.unpackbits(packed, axis=-1, bitorder="little")[..., :n_columns * bits]
    fields = stream.reshape(*packed.shape[:-1], n_columns, bits)
    return (fields.astype(np.int32) << np.arange(bits)).sum(-1) - 2 ** (bits - 1)


@pytest.mark.parametrize("bits", range(2, 9))
@pytest.mark.parametrize("group_size", [8, 100, 128, "channel"])
@pytest.mark.parametrize("full_range", [False, True])
def test_packed_codes(bits, group_size, full_range):
    rng = np.random.default_rng(bits)
    array = rng.normal(size=(7, 300)).astype(np.float32)
    packed, scales = qdisp.quantize_packed(array, bits, group_size, full_range)
    size = 300 if group_size == "channel" else group_size
    half = 2 ** (bits - 1) - (not full_range)
    starts = np.arange(0, 300, size)
    assert packed.shape == (7, (300 * bits + 7) // 8) and scales.shape == (7, len(starts))
    largest = np.maximum.reduceat(np.abs(array), starts, axis=1)
    np.testing.assert_array_equal(scales, (largest / np.float32(half)).astype(np.float16))
    step = np.repeat(scales.astype(np.float32), size, axis=1)[:, :300]
    codes = np.clip(np.rint(array * (np.float32(1) / step)), -half, half - full_range)
    np.testing.assert_array_equal(codes_of(packed, 300, bits), codes)
    back = qdisp.dequantize_packed(packed, scales, 300, bits, group_size)
    np.testing.assert_array_equal(back, codes.astype(np.float32) * step)


def test_shapes_and_types():
    array = np.linspace(-1, 1, 2 * 3 * 64).reshape(2, 3, 64)
    packed, scales = qdisp.quantize_packed(array.astype(np.float16), 4, 32)
    assert packed.shape == (2, 3, 32) and scales.shape == (2, 3, 2) and scales.dtype == np.float16
    assert qdisp.dequantize_packed(packed, scales, 64, 4, 32).shape == (2, 3, 64)
    row, one = qdisp.quantize_packed(array[0, 0].astype(np.float32), 8, "channel")
    assert row.shape == (64,) and one.shape == (1,)
    bfloat16 = (array.astype(np.float32).view(np.uint32) >> 16).astype(np.uint16)
    widened = (bfloat16.astype(np.uint32) << 16).view(np.float32)
    packed, wide = qdisp.quantize_packed(bfloat16, 4, 32, dtype="bfloat16"), qdisp.quantize_packed(widened, 4, 32)
    for got, want in zip(packed, wide):
        np.testing.assert_array_equal(got, want)
    empty = qdisp.quantize_packed(np.empty((0, 64), np.float32))
    assert empty[0].shape == (0, 32) and qdisp.dequantize_packed(*empty, 64).shape == (0, 64)


def test_what_cannot_be_packed():
    array = np.ones((3, 64), np.float32)
    array[1, 33] = np.nan
    with pytest.raises(qdisp.Error, match="row 1, column 33"):
        qdisp.quantize_packed(array)
    with pytest.raises(TypeError, match="float64"):
        qdisp.quantize_packed(array.astype(np.float64))
    with pytest.raises(ValueError, match="bits"):
        qdisp.quantize_packed(array, 9)
    with pytest.raises(qdisp.Error, match="group_size"):
        qdisp.quantize_packed(array, 4, "tensor")
    packed, scales = qdisp.quantize_packed(np.ones((3, 64), np.float32))
    with pytest.raises(ValueError, match="scales"):
        qdisp.dequantize_packed(packed, scales[:2], 64)
    with pytest.raises(ValueError, match="packed"):
        qdisp.dequantize_packed(packed, scales, 66)
    with pytest.raises(TypeError, match="uint8"):
        qdisp.dequantize_packed(packed.astype(np.int8), scales, 64)
