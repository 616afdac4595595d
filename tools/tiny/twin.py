# SPDX-License-Identifier: MIT
"""The exact twin: a Mixture-of-Experts transformer in float64, plain and slow, one token's row at a time.

Written from the papers and from the published model definitions (Mixtral, Qwen2-MoE, Qwen3-MoE, OLMoE; RoPE by Su et al.,
YaRN by Peng et al., the Llama-3.1 frequency factors), not from the C code that it judges.
"""
import math

import numpy as np


def rms_norm(x, weight, eps):
    return x / np.sqrt((x * x).mean(-1, keepdims=True) + eps) * weight


def silu(x):
    return x / (1 + np.exp(-x))


def softmax(x):
    e = np.exp(x - x.max())
    return e / e.sum()


def rope_frequencies(c, factors):
    """Angles per position of each rotated pair, and the factor on their sine and cosine."""
    n_rot, base = c["n_rot"], c["rope_base"]
    pair = np.arange(n_rot // 2)
    freq = base ** (-2.0 * pair / n_rot)
    scaling = c.get("rope_scaling")
    magnitude = 1.0
    if scaling and scaling["type"] == "linear":
        freq = freq / scaling["factor"]
    elif scaling and scaling["type"] == "yarn":
        # A pair that turns `turns` times over the original context: below beta_slow interpolate, above beta_fast leave.
        def pair_with(turns):
            return n_rot * math.log(scaling["original"] / (turns * 2 * math.pi)) / (2 * math.log(base))

        low = max(math.floor(pair_with(32.0)), 0)
        high = min(math.ceil(pair_with(1.0)), n_rot - 1)
        ramp = np.clip((pair - low) / max(high - low, 0.001), 0, 1)
        freq = freq * (1 - ramp) + freq / scaling["factor"] * ramp
        magnitude = 0.1 * math.log(scaling["factor"]) + 1
    if factors is not None:
        freq = freq / factors
    return freq, magnitude


def rotate(x, position, freq, magnitude, interleaved):
    """x: [heads, head_dim]; only the first 2 * len(freq) dimensions turn."""
    half = len(freq)
    cos, sin = np.cos(position * freq) * magnitude, np.sin(position * freq) * magnitude
    first = np.arange(half) * 2 if interleaved else np.arange(half)
    second = first + 1 if interleaved else first + half
    y = x.copy()
    y[:, first] = x[:, first] * cos - x[:, second] * sin
    y[:, second] = x[:, first] * sin + x[:, second] * cos
    return y


def round_to_8_bits(x, block):
    """What engines that multiply in integers do to activations: whole steps of 1/127 of each block's peak."""
    blocks = x.reshape(-1, block)
    step = np.abs(blocks).max(1, keepdims=True) / 127
    return (np.rint(blocks / np.where(step > 0, step, 1)) * step).reshape(x.shape)


class Twin:
    """config: see make.py; weights: name to float64 array, matrices as [out, in], expert stacks as [expert, out, in].
    `blocks`: matrices before which activations are rounded to 8 bits, and by how many at a time; none in the exact twin."""

    def __init__(self, config, weights, blocks=None):
        self.c, self.w, self.blocks = config, weights, blocks or {}
        self.freq, self.magnitude = rope_frequencies(config, weights.get("rope_freqs.weight"))
        self.keys = [[] for _ in range(config["n_layer"])]
        self.values = [[] for _ in range(config["n_layer"])]

    def _linear(self, name, x, expert=None):
        w = self.w[name + ".weight"]
        if name + ".weight" in self.blocks:
            x = round_to_8_bits(x, self.blocks[name + ".weight"])
        y = (w if expert is None else w[expert]) @ x
        return y + self.w[name + ".bias"] if name + ".bias" in self.w else y

    def _feed_forward(self, names, x, expert=None):
        """names: with a place for gate, up or down."""
        gate, up = (self._linear(names % part, x, expert) for part in ("gate", "up"))
        return self._linear(names % "down", silu(gate) * up, expert)

    def _attention(self, layer, x, position):
        c, w, p = self.c, self.w, "blk.%d." % layer
        q, k, v = (self._linear(p + "attn_" + name, x) for name in "qkv")
        if c["qk_norm"] == "full":
            q, k = rms_norm(q, w[p + "attn_q_norm.weight"], c["eps"]), rms_norm(k, w[p + "attn_k_norm.weight"], c["eps"])
        q, k = q.reshape(c["n_head"], -1), k.reshape(c["n_head_kv"], -1)
        if c["qk_norm"] == "head":
            q, k = rms_norm(q, w[p + "attn_q_norm.weight"], c["eps"]), rms_norm(k, w[p + "attn_k_norm.weight"], c["eps"])
        q, k = (rotate(h, position, self.freq, self.magnitude, c["interleaved"]) for h in (q, k))
        self.keys[layer].append(k)
        self.values[layer].append(v.reshape(c["n_head_kv"], -1))
        keys, values = np.array(self.keys[layer]), np.array(self.values[layer])
        group = c["n_head"] // c["n_head_kv"]
        heads = [softmax(keys[:, h // group] @ q[h] / math.sqrt(c["head_dim"])) @ values[:, h // group]
                 for h in range(c["n_head"])]
        return self._linear(p + "attn_output", np.concatenate(heads))

    def _moe(self, layer, x):
        c, p = self.c, "blk.%d." % layer
        logits = self._linear(p + "ffn_gate_inp", x)
        chosen = np.argsort(-logits, kind="stable")[:c["n_used"]]
        share = softmax(logits)[chosen]
        if c["renormalise"]:
            share = share / share.sum()
        y = sum(s * self._feed_forward(p + "ffn_%s_exps", x, e) for s, e in zip(share, chosen))
        if c.get("n_ff_shared"):
            shared = self._feed_forward(p + "ffn_%s_shexp", x)
            y = y + shared / (1 + np.exp(-self._linear(p + "ffn_gate_inp_shexp", x)))
        return y, logits, chosen

    def feed(self, token, position):
        """One token: logits, and per layer the residual; per layer with experts the router's logits and its choice."""
        c, w = self.c, self.w
        x = w["token_embd.weight"][token]
        residuals, routers, choices = [], [], []
        for layer in range(c["n_layer"]):
            p = "blk.%d." % layer
            x = x + self._attention(layer, rms_norm(x, w[p + "attn_norm.weight"], c["eps"]), position)
            h = rms_norm(x, w[p + "ffn_norm.weight"], c["eps"])
            if layer < c.get("n_dense", 0):
                y = self._feed_forward(p + "ffn_%s", h)
            else:
                y, logits, chosen = self._moe(layer, h)
                routers.append(logits)
                choices.append(chosen)
            x = x + y
            residuals.append(x)
        head = "output" if "output.weight" in w else "token_embd"
        return self._linear(head, rms_norm(x, w["output_norm.weight"], c["eps"])), residuals, routers, choices
