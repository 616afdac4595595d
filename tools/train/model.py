"""A small Mixture-of-Experts transformer, computed as GGUF's architecture `qwen3moe` says."""
import dataclasses

import torch
import torch.nn as nn
import torch.nn.functional as F

ROUND = 64


@dataclasses.dataclass
class Config:
    n_vocab: int = 4096
    n_layer: int = 6
    n_embd: int = 256
    n_head: int = 4
    n_head_kv: int = 2
    head_dim: int = 64
    n_expert: int = 8
    n_used: int = 2
    n_ff: int = 256             # of one expert
    rope_base: float = 10000.0
    rms_eps: float = 1e-6
    n_ctx: int = 1024


def half(x, like):
    """The weight x in the precision the activations are computed in."""
    return x if x.dtype == like.dtype else x.to(like.dtype)


# The element-wise parts, each compiled into one pass over memory.

@torch.compile(dynamic=True)
def rms_norm(x, weight, eps, dtype):
    x = x.float()
    return (x * torch.rsqrt(x.square().mean(-1, keepdim=True) + eps) * weight).to(dtype)


@torch.compile(dynamic=True)
def norm_and_turn(x, weight, eps, cos, sin):
    """Norm of each head, then RoPE in NEOX layout: the first half of a head turns with the second."""
    dtype, x = x.dtype, x.float()
    x = x * torch.rsqrt(x.square().mean(-1, keepdim=True) + eps) * weight
    a, b = x.chunk(2, -1)
    return torch.cat((a * cos - b * sin, b * cos + a * sin), -1).to(dtype)


@torch.compile(dynamic=True)
def swiglu(gate, up):
    return F.silu(gate) * up


@torch.compile(dynamic=True)
def weighted_sum(out, weight):          # [tokens, n_used, n_embd], [tokens, n_used]
    return (out.float() * weight.unsqueeze(-1)).sum(1)


class Norm(nn.Module):
    def __init__(self, n, eps):
        super().__init__()
        self.weight, self.eps = nn.Parameter(torch.ones(n)), eps

    def forward(self, x, dtype):
        return rms_norm(x, self.weight, self.eps, dtype)


class Attention(nn.Module):
    def __init__(self, c):
        super().__init__()
        self.c = c
        init = lambda rows, cols: nn.Parameter(torch.randn(rows, cols) * cols ** -0.5)
        self.q = init(c.n_head * c.head_dim, c.n_embd)
        self.k = init(c.n_head_kv * c.head_dim, c.n_embd)
        self.v = init(c.n_head_kv * c.head_dim, c.n_embd)
        self.o = nn.Parameter(init(c.n_embd, c.n_head * c.head_dim) * (2 * c.n_layer) ** -0.5)
        self.q_norm, self.k_norm = Norm(c.head_dim, c.rms_eps), Norm(c.head_dim, c.rms_eps)

    def forward(self, x, cos, sin):         # x: [batch, time, n_embd]
        c, (n, t, _) = self.c, x.shape
        heads = lambda w, h: F.linear(x, half(w, x)).view(n, t, h, c.head_dim)
        turn = lambda x, norm: norm_and_turn(x, norm.weight, norm.eps, cos, sin).transpose(1, 2)
        q, k = turn(heads(self.q, c.n_head), self.q_norm), turn(heads(self.k, c.n_head_kv), self.k_norm)
        v = heads(self.v, c.n_head_kv).transpose(1, 2)
        y = F.scaled_dot_product_attention(q, k, v, is_causal=True, enable_gqa=True)
        return F.linear(y.transpose(1, 2).reshape(n, t, -1), half(self.o, x))


class Experts(nn.Module):
    """Softmax over all experts, the best n_used of them, weights made to sum to one."""

    def __init__(self, c):
        super().__init__()
        self.c = c
        init = lambda rows, cols: nn.Parameter(torch.randn(c.n_expert, rows, cols) * cols ** -0.5)
        self.router = nn.Parameter(torch.randn(c.n_expert, c.n_embd) * 0.02)
        self.gate, self.up = init(c.n_ff, c.n_embd), init(c.n_ff, c.n_embd)
        self.down = nn.Parameter(init(c.n_embd, c.n_ff) * (2 * c.n_layer) ** -0.5)
        self.balance_loss = self.z_loss = self.counts = None

    def forward(self, x):                   # x: [tokens, n_embd]
        c, n = self.c, x.shape[0]
        logits = F.linear(x.float(), self.router)
        share = logits.softmax(-1)
        weight, chosen = share.topk(c.n_used, -1)
        weight = weight / weight.sum(-1, keepdim=True)

        flat = chosen.flatten()
        counts = torch.bincount(flat, minlength=c.n_expert)
        self.counts = counts
        self.balance_loss = c.n_expert * (counts / flat.numel() * share.mean(0)).sum()
        self.z_loss = logits.logsumexp(-1).square().mean()

        # Choices sorted by expert, each expert's run filled up to a multiple of ROUND: products of few
        # distinct shapes find their compiled kernels again, which doubles the speed.
        order = flat.argsort(stable=True)
        room = (counts + ROUND - 1) // ROUND * ROUND
        shift = (room.cumsum(0) - room) - (counts.cumsum(0) - counts)
        place = torch.empty_like(order)
        place[order] = torch.arange(order.numel()) + shift[flat[order]]
        rows = torch.zeros(int(room.sum()), dtype=torch.long)
        rows[place] = torch.arange(order.numel()) // c.n_used
        inputs = x[rows].split(room.tolist())
        gate, up, down = (half(w, x).unbind(0) for w in (self.gate, self.up, self.down))
        out = torch.cat([F.linear(swiglu(F.linear(e, gate[i]), F.linear(e, up[i])), down[i])
                         for i, e in enumerate(inputs)])
        return weighted_sum(out[place].view(n, c.n_used, -1), weight)


class Block(nn.Module):
    def __init__(self, c):
        super().__init__()
        self.attn_norm, self.attn = Norm(c.n_embd, c.rms_eps), Attention(c)
        self.ffn_norm, self.experts = Norm(c.n_embd, c.rms_eps), Experts(c)

    def forward(self, x, cos, sin, dtype):
        x = x + self.attn(self.attn_norm(x, dtype), cos, sin)
        y = self.experts(self.ffn_norm(x, dtype).flatten(0, 1))
        return x + y.view(x.shape)


class Model(nn.Module):
    def __init__(self, c, dtype=torch.float32):
        super().__init__()
        self.c, self.dtype = c, dtype       # dtype: of the matrix products; the rest is float32
        self.embed = nn.Parameter(torch.randn(c.n_vocab, c.n_embd))
        self.blocks = nn.ModuleList(Block(c) for _ in range(c.n_layer))
        self.norm = Norm(c.n_embd, c.rms_eps)
        self.output = nn.Parameter(torch.randn(c.n_vocab, c.n_embd) * 0.02)

    def forward(self, ids):                 # [batch, time] -> hidden state [batch, time, n_embd]
        c, t = self.c, ids.shape[1]
        turn = c.rope_base ** (-torch.arange(0, c.head_dim, 2) / c.head_dim)
        angle = torch.outer(torch.arange(t), turn)[:, None]
        cos, sin = angle.cos(), angle.sin()
        x = F.embedding(ids, self.embed)
        for block in self.blocks:
            x = block(x, cos, sin, self.dtype)
        return self.norm(x, self.dtype)

    def logits(self, hidden):
        return F.linear(hidden, half(self.output, hidden))
