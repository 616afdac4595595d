# SPDX-License-Identifier: MIT
"""A few GGUF block formats in numpy: encode plainly (round to nearest), decode exactly.

Written from the description of the formats and kept apart from compute/quant.c, so that each checks the other.
"""
import numpy as np


def _f16(x):
    return x.astype("<f2").reshape(-1, 1).view(np.uint8)


def _as_f16(raw):
    return np.ascontiguousarray(raw).view("<f2").astype(np.float64)


def _inverse(d):
    return np.where(d != 0, 1 / np.where(d != 0, d, 1), 0)


def q8_0_encode(x):
    x = x.reshape(-1, 32)
    d = (np.abs(x).max(1) / 127).astype("<f2")
    q = np.clip(np.rint(x * _inverse(d.astype(np.float64))[:, None]), -127, 127).astype(np.int8)
    return np.hstack([_f16(d), q.view(np.uint8)])


def q8_0_decode(raw):
    return _as_f16(raw[:, :2]) * np.ascontiguousarray(raw[:, 2:]).view(np.int8)


def q4_0_encode(x):
    x = x.reshape(-1, 32)
    peak = x[np.arange(len(x)), np.abs(x).argmax(1)]
    d = (peak / -8).astype("<f2")
    q = np.clip(np.rint(x * _inverse(d.astype(np.float64))[:, None]) + 8, 0, 15).astype(np.uint8)
    return np.hstack([_f16(d), q[:, :16] | q[:, 16:] << 4])


def q4_0_decode(raw):
    q = np.hstack([raw[:, 2:] & 15, raw[:, 2:] >> 4]).astype(np.float64)
    return _as_f16(raw[:, :2]) * (q - 8)


E2M1 = np.array([0, 0.5, 1, 1.5, 2, 3, 4, 6])


def mxfp4_encode(x):
    """OCP Microscaling Formats v1.0: 32 E2M1 numbers times one power of two, so chosen that the greatest lies in 4 .. 8."""
    x = x.reshape(-1, 32)
    peak = np.abs(x).max(1)
    e = np.clip(np.floor(np.log2(np.where(peak > 0, peak, 1))) - 2 + 127, 0, 254).astype(np.uint8)
    scaled = np.abs(x) / np.exp2(e.astype(np.float64) - 127)[:, None]
    q = np.abs(scaled[:, :, None] - E2M1).argmin(2).astype(np.uint8) | (x < 0).astype(np.uint8) << 3
    return np.hstack([e.reshape(-1, 1), q[:, :16] | q[:, 16:] << 4])


def mxfp4_decode(raw):
    q = np.hstack([raw[:, 1:] & 15, raw[:, 1:] >> 4])
    return np.exp2(raw[:, :1].astype(np.float64) - 127) * E2M1[q & 7] * np.where(q & 8, -1, 1)


def q4_k_encode(x):
    x = x.reshape(-1, 8, 32)
    low = np.minimum(x.min(2), 0)
    scale = (x.max(2) - low) / 15
    d = (scale.max(1) / 63).astype("<f2")
    dmin = ((-low).max(1) / 63).astype("<f2")
    d64, dmin64 = d.astype(np.float64)[:, None], dmin.astype(np.float64)[:, None]
    sc = np.clip(np.rint(scale * _inverse(d64)), 0, 63).astype(np.uint8)
    mn = np.clip(np.rint(-low * _inverse(dmin64)), 0, 63).astype(np.uint8)
    step = d64 * sc
    q = np.clip(np.rint((x + (dmin64 * mn)[:, :, None]) * _inverse(step)[:, :, None]), 0, 15).astype(np.uint8)
    # Six-bit scales and minima: four of each whole, the other four split into nibbles and the spare top bits.
    packed = np.hstack([
        sc[:, :4] | (sc[:, 4:] >> 4) << 6,
        mn[:, :4] | (mn[:, 4:] >> 4) << 6,
        (sc[:, 4:] & 15) | (mn[:, 4:] & 15) << 4,
    ])
    return np.hstack([_f16(d), _f16(dmin), packed, (q[:, 0::2] | q[:, 1::2] << 4).reshape(len(x), 128)])


def q4_k_decode(raw):
    n = len(raw)
    d, dmin, s = _as_f16(raw[:, :2]), _as_f16(raw[:, 2:4]), raw[:, 4:16]
    sc = np.hstack([s[:, :4] & 63, (s[:, 8:] & 15) | (s[:, :4] >> 6) << 4]).astype(np.float64)
    mn = np.hstack([s[:, 4:8] & 63, (s[:, 8:] >> 4) | (s[:, 4:8] >> 6) << 4]).astype(np.float64)
    pairs = raw[:, 16:].reshape(n, 4, 1, 32)
    q = np.concatenate([pairs & 15, pairs >> 4], axis=2).reshape(n, 8, 32)
    return ((d * sc)[:, :, None] * q - (dmin * mn)[:, :, None]).reshape(n, 256)


def q6_k_encode(x):
    x = x.reshape(-1, 16, 16)
    scale = np.abs(x).max(2) / 31
    d = (scale.max(1) / 127).astype("<f2")
    d64 = d.astype(np.float64)[:, None]
    sc = np.clip(np.rint(scale * _inverse(d64)), 0, 127).astype(np.int8)
    q = np.clip(np.rint(x * _inverse(d64 * sc)[:, :, None]) + 32, 0, 63).astype(np.uint8).reshape(-1, 2, 4, 32)
    low = np.concatenate([(q[:, :, :2] & 15) | (q[:, :, 2:] & 15) << 4], axis=2).reshape(-1, 128)
    high = (q >> 4 << (2 * np.arange(4, dtype=np.uint8))[:, None]).sum(2, dtype=np.uint8).reshape(-1, 64)
    return np.hstack([low, high, sc.view(np.uint8), _f16(d)])


def q6_k_decode(raw):
    n = len(raw)
    low = raw[:, :128].reshape(n, 2, 2, 32)
    low = np.concatenate([low & 15, low >> 4], axis=2)
    high = raw[:, 128:192].reshape(n, 2, 1, 32) >> (2 * np.arange(4, dtype=np.uint8))[:, None] & 3
    q = (low | high << 4).reshape(n, 16, 16).astype(np.float64) - 32
    sc = np.ascontiguousarray(raw[:, 192:208]).view(np.int8).astype(np.float64)
    return ((_as_f16(raw[:, 208:]) * sc)[:, :, None] * q).reshape(n, 256)


CODECS = {
    "Q8_0": (q8_0_encode, q8_0_decode, 32), "Q4_0": (q4_0_encode, q4_0_decode, 32),
    "MXFP4": (mxfp4_encode, mxfp4_decode, 32),
    "Q4_K": (q4_k_encode, q4_k_decode, 256), "Q6_K": (q6_k_encode, q6_k_decode, 256),
}


def encode(kind, x):
    """Array of weights to the bytes of its rows."""
    if kind == "F32":
        return x.astype("<f4").tobytes()
    if kind == "F16":
        return x.astype("<f2").tobytes()
    if kind == "BF16":
        bits = x.astype("<f4").view("<u4").astype(np.uint64)
        return ((bits + 0x7FFF + (bits >> 16 & 1)) >> 16).astype("<u2").tobytes()
    return CODECS[kind][0](np.asarray(x, np.float64).reshape(-1, CODECS[kind][2])).astype(np.uint8).tobytes()


def decode(kind, raw, shape):
    """Bytes to float64 weights."""
    if kind == "F32":
        return np.frombuffer(raw, "<f4").astype(np.float64).reshape(shape)
    if kind == "F16":
        return np.frombuffer(raw, "<f2").astype(np.float64).reshape(shape)
    if kind == "BF16":
        return (np.frombuffer(raw, "<u2").astype("<u4") << 16).view("<f4").astype(np.float64).reshape(shape)
    blocks = np.frombuffer(raw, np.uint8)
    n_blocks = int(np.prod(shape)) // CODECS[kind][2]
    return CODECS[kind][1](blocks.reshape(n_blocks, -1)).reshape(shape)
