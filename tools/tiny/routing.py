# SPDX-License-Identifier: MIT
"""Random weights whose routing behaves like a trained model's: some experts are liked better than others, and those of a
token are liked by the next ones too. All of it is in the weights, so every engine that runs the file sees the same.

The first dimensions of the residual stream are reserved, and no layer but the first writes to them:

    CONST  1 in every token's embedding. The router reads a fixed liking for each expert from them: skew.
    SLOW   0 in the embeddings. Head 0 of the first layer has queries and keys made of CONST alone, so that what it
           attends to is decided by rotation, hence by distance: a sum of cosines over evenly log-spaced frequencies falls
           like a logarithm, its exponential like distance ** -recency. What it averages in this way are random values of
           the tokens, which it writes here; the router reads them with random weights: what changes slowly.

The rest of the stream is as random as ever: what belongs to the token and the layer alone. A router's logit is
SPREAD * (skew * liking + slow * average + sqrt(1 - skew**2 - slow**2) * the rest), each of unit variance.
"""
import numpy as np

CONST, SLOW, BLOCK = 32, 96, 256
RESERVED = CONST + SLOW
SPREAD = 2.0
HORIZON = 300  # tokens up to which nearer weighs more
SLOW_SPREAD = 0.5  # of the averages in the stream, beside embeddings of spread 1
GAIN = 1.5  # of queries, keys and values (shapes.py)
# Of what the parts would write otherwise: the stream turns slowly, as a trained model's does, and what attention averages
# over all tokens, which they then have in common, does not outgrow what is a token's own.
FFN_SHARE, ATTENTION_SHARE = 0.15, 0.2
GROWTH = 0.58  # of the variance of the stream per layer with these shares, as measured
NORM_MEAN = 1.2  # of the weights of the queries' and keys' norms

# (skew, slow, recency) by what LRU shall hit per layer with a quarter and half of the experts in slots, for top 8 of 64
# and of 128: hard 0.55 and 0.83, trace-like 0.81 and 0.96. Found by running the models on random tokens.
PRESETS = {
    "hard": {64: (0.53, 0.55, 0.7), 128: (0.51, 0.49, 0.7)},
    "trace-like": {64: (0.75, 0.63, 0.7), 128: (0.73, 0.60, 0.7)},
}


def preset(name, n_expert):
    of = PRESETS[name]
    return of[min(of, key=lambda n: abs(n - n_expert))]


class Routing:
    def __init__(self, c, skew, slow, recency, rng):
        if skew ** 2 + slow ** 2 > 1 or min(skew, slow, recency) < 0:
            raise SystemExit("skew and slow are shares: their squares must not sum to more than 1")
        if c["n_embd"] < 2 * BLOCK or c["head_dim"] < 128:
            raise SystemExit("routing needs embeddings of %d and heads of 128 at least" % (2 * BLOCK))
        self.c, self.skew, self.slow, self.rng = c, skew, slow, rng
        half = c["head_dim"] // 2
        theta = c["rope_base"] ** (-np.arange(half) / half)
        band = theta > 1 / HORIZON
        spacing = np.log(c["rope_base"]) / half
        # A pair of dimensions of amplitude a in query and key adds a * a * cos(theta * distance) / sqrt(head_dim).
        amplitude = np.sqrt(recency * spacing * np.sqrt(c["head_dim"]))
        distance = np.arange(HORIZON)
        weight = np.exp(recency * spacing * np.cos(np.outer(distance, theta[band])).sum(1))
        weight /= weight.sum()
        self.slow_gain = SLOW_SPREAD / (GAIN * np.sqrt((weight ** 2).sum()))
        self.query, self.key = self._pattern(band, amplitude, half - 1), self._pattern(band, amplitude, half - 2)

    def _pattern(self, band, amplitude, spare):
        """What head 0 has as query or key. Where a norm follows, what the band leaves of its length goes to a pair of its
        own, in the query another than in the key, so that the two never meet."""
        first = 2 * np.arange(len(band)) if self.c["arch"] == "llama" else np.arange(len(band))
        out = np.zeros(self.c["head_dim"])
        if not self.c["qk_norm"]:
            out[first[band]] = amplitude
            return out
        out[first[band]] = amplitude / NORM_MEAN
        out[first[spare]] = np.sqrt(len(out) - (out ** 2).sum())
        return out * GAIN

    def first_block(self, embeddings):
        """[n, BLOCK] of embeddings, reserved dimensions filled in."""
        out = embeddings.copy()
        out[:, :CONST], out[:, CONST:RESERVED] = 1, 0
        return out

    @staticmethod
    def plain(vector, n, value):
        return np.where(np.arange(len(vector)) < n, value, vector).astype("<f4").tobytes()

    def head_rows(self, name):
        """[head_dim, BLOCK], the columns of the first block of head 0's queries, keys or values in the first layer. Values
        are random, but must not see what is reserved, nor its own block."""
        pattern = {"attn_q": self.query, "attn_k": self.key}.get(name)
        out = np.zeros((self.c["head_dim"], BLOCK))
        if pattern is not None:
            out[:, :CONST] = pattern[:, None] / CONST
        return out

    def slow_rows(self, layer):
        """[RESERVED, BLOCK], the columns of the first block of a layer's attention output."""
        out = np.zeros((RESERVED, BLOCK))
        if layer == 0:
            out[CONST + np.arange(SLOW), np.arange(SLOW)] = self.slow_gain
        return out

    def router(self, layer, shape):
        """[n_expert, n_embd]"""
        n_expert, n_embd = shape
        rms = self.rms(layer)
        rest = np.sqrt(1 - self.skew ** 2 - self.slow ** 2)
        out = self.rng.normal(size=shape) * rest / np.sqrt(n_embd - RESERVED)
        out[:, :CONST] = self.skew * rms / CONST * self.rng.normal(size=(n_expert, 1))
        out[:, CONST:RESERVED] = self.slow * rms / SLOW_SPREAD / np.sqrt(SLOW) * self.rng.normal(size=(n_expert, SLOW))
        return SPREAD * out

    def rms(self, layer):
        """Of the residual stream before a layer's router, as measured."""
        return np.sqrt(1 + GROWTH * (layer + 0.3))
