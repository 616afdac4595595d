#!/usr/bin/env python3
"""Trains the story model for a given number of minutes.

    train.py --data DIR --minutes 90 [--resume]

DIR comes from prepare.py. The learning rate follows the wall clock and reaches zero at the end.
DIR/checkpoint.pt is rewritten every few minutes, and --resume goes on from there; DIR/train.log keeps the figures.
"""
import argparse, json, math, os, pathlib, random, time

import torch
from tokenizers import Tokenizer

import render
from model import Config, Model

BALANCE, Z = 0.01, 1e-3       # weights of the load-balancing loss (per layer) and of the router's z-loss


# --- batches ----------------------------------------------------------------------------------

class Batches:
    """Micro-batches of stories of like length, padded; a step takes several, of any length."""

    def __init__(self, stories, tok, seed, max_tokens, max_len, tale_share):
        self.stories, self.tok, self.rng = stories, tok, random.Random(seed)
        self.max_tokens, self.max_len, self.tale_share = max_tokens, max_len, tale_share
        self.render = render.Renderer(stories)
        self.queue, self.bags = [], {"tiny": [], "tale": []}

    def draw(self, kind):
        if not self.bags[kind]:
            self.bags[kind] = [s for s in self.stories if s["kind"] == kind]
            self.rng.shuffle(self.bags[kind])
        return self.bags[kind].pop()

    def fill(self):
        pool = []
        for _ in range(800):
            kind = "tale" if self.rng.random() < self.tale_share else "tiny"
            ids, mask = [], []
            for text, learn in self.render(self.draw(kind), self.rng):
                piece = self.tok.encode(text).ids
                ids += piece
                mask += [learn] * len(piece)
            pool.append((ids[:self.max_len + 1], mask[:self.max_len + 1]))
        pool.sort(key=lambda p: len(p[0]))
        batch = []
        for item in pool:
            if batch and (len(batch) + 1) * len(item[0]) > self.max_tokens:
                self.queue.append(batch)
                batch = []
            batch.append(item)
        self.queue.append(batch)
        self.rng.shuffle(self.queue)

    def next(self):
        if not self.queue:
            self.fill()
        batch = self.queue.pop()
        t = max(len(ids) for ids, _ in batch)
        x = torch.zeros(len(batch), t, dtype=torch.long)
        learn = torch.zeros(len(batch), t, dtype=torch.bool)
        for row, (ids, mask) in enumerate(batch):
            x[row, :len(ids)] = torch.tensor(ids)
            learn[row, :len(ids)] = torch.tensor(mask)
        y = x[:, 1:].masked_fill(~learn[:, 1:], -100)
        return x[:, :-1].contiguous(), y.contiguous()


# --- the optimiser ----------------------------------------------------------------------------

def orthogonal(g, steps=5):
    """Newton-Schulz iteration (Muon): the nearest matrix with all singular values about one."""
    x = g.to(torch.bfloat16)
    tall = x.shape[-2] > x.shape[-1]
    if tall:
        x = x.mT
    x = x / (x.float().flatten(1).norm(dim=1).to(x.dtype)[:, None, None] + 1e-7)
    for _ in range(steps):
        a = x @ x.mT
        x = 3.4445 * x + (-4.7750 * a + 2.0315 * (a @ a)) @ x
    return (x.mT if tall else x).float()


class Muon:
    """For the matrices inside the blocks; matrices of one shape are taken together."""

    def __init__(self, params, lr, momentum=0.95, decay=0.02):
        self.lr, self.momentum, self.decay, self.scale = lr, momentum, decay, 1.0
        self.groups = {}
        for p in params:
            self.groups.setdefault(tuple(p.shape[-2:]), []).append(p)
        self.state = {shape: [torch.zeros_like(p) for p in ps] for shape, ps in self.groups.items()}

    @torch.no_grad()
    def step(self):
        lr = self.lr * self.scale
        for shape, ps in self.groups.items():
            ms = self.state[shape]
            grads = [p.grad for p in ps]
            torch._foreach_lerp_(ms, grads, 1 - self.momentum)
            looks = torch._foreach_lerp(grads, ms, self.momentum)
            update = orthogonal(torch.cat([u.reshape(-1, *shape) for u in looks]))
            update = update.split([p.numel() // (shape[0] * shape[1]) for p in ps])
            torch._foreach_mul_(ps, 1 - lr * self.decay)
            gain = lr * max(1, shape[0] / shape[1]) ** 0.5
            torch._foreach_add_(ps, [u.view_as(p) for u, p in zip(update, ps)], alpha=-gain)


def optimisers(model, lr):
    matrices = [p for n, p in model.named_parameters()
                if n.startswith("blocks") and p.ndim >= 2 and "router" not in n]
    router = [p for n, p in model.named_parameters() if "router" in n]
    norms = [p for n, p in model.named_parameters() if p.ndim == 1]
    adam = torch.optim.AdamW([
        dict(params=[model.embed], lr=0.02, weight_decay=0.0),
        dict(params=[model.output], lr=0.003, weight_decay=0.01),
        dict(params=router, lr=0.002, weight_decay=0.01),
        dict(params=norms, lr=0.005, weight_decay=0.0)], betas=(0.9, 0.98), eps=1e-10, fused=True)
    for g in adam.param_groups:
        g["top"] = g["lr"]
    return adam, Muon(matrices, lr)


def schedule(done, hold):
    """Warm up for 1 % of the time, hold, then fall in a straight line to zero."""
    return min(1.0, (done + 1e-3) / 0.01, max(0.0, (1 - done) / (1 - hold)))


# --- figures ----------------------------------------------------------------------------------

@torch.compile(dynamic=True)
def cross_entropy(logits, y):           # [tokens, n_vocab], [tokens]; y < 0: nothing to learn
    logits = logits.float()
    return ((logits.logsumexp(-1) - logits.gather(-1, y.clamp(min=0)[:, None])[:, 0]) * (y >= 0)).sum()


def loss_sum(model, x, y):
    return cross_entropy(model.logits(model(x)).flatten(0, 1), y.flatten())


@torch.no_grad()
def evaluate(model, tok, stories, max_len, limit=None):
    """Nats per token, bits per byte and expert counts on plain stories."""
    result, usage = {}, torch.zeros(model.c.n_layer, model.c.n_expert, dtype=torch.long)
    for kind in ("tiny", "tale"):
        nats = tokens = n_bytes = 0
        for s in [s for s in stories if s["kind"] == kind][:limit]:
            ids = tok.encode("<|endoftext|>" + s["text"] + "<|endoftext|>").ids[:max_len + 1]
            x = torch.tensor([ids])
            nats += loss_sum(model, x[:, :-1], x[:, 1:]).item()
            tokens += len(ids) - 1
            n_bytes += len(tok.decode(ids).encode())
            usage += torch.stack([b.experts.counts for b in model.blocks])
        result[kind] = dict(nats_per_token=nats / tokens, bits_per_byte=nats / n_bytes / math.log(2), tokens=tokens)
    result["usage"] = (usage / usage.sum(-1, keepdim=True)).tolist()
    return result


def main():
    ap = argparse.ArgumentParser()
    ap.add_argument("--data", type=pathlib.Path, required=True)
    ap.add_argument("--minutes", type=float, default=90)
    ap.add_argument("--threads", type=int, default=2)
    ap.add_argument("--dtype", choices=["float32", "bfloat16"], default="bfloat16")
    ap.add_argument("--batch-tokens", type=int, default=4096, help="of one micro-batch")
    ap.add_argument("--micro", type=int, default=2, help="micro-batches in a step")
    ap.add_argument("--context", type=int, default=640, help="longest text trained on")
    ap.add_argument("--lr", type=float, default=0.02)
    ap.add_argument("--tale-share", type=float, nargs=2, default=(0.20, 0.06),
                    help="of the texts, at first and once the rate falls")
    ap.add_argument("--hold", type=float, default=0.22, help="share of the time before the rate begins to fall")
    ap.add_argument("--save-minutes", type=float, default=6)
    ap.add_argument("--check", type=int, default=10, help="held-out stories of each kind to look at with every save")
    ap.add_argument("--seed", type=int, default=1)
    ap.add_argument("--resume", action="store_true")
    args = ap.parse_args()

    torch.set_num_threads(args.threads)
    torch.manual_seed(args.seed)
    tok = Tokenizer.from_file(str(args.data / "tokenizer.json"))
    sets = json.loads((args.data / "stories.json").read_text())
    model = Model(Config(n_vocab=tok.get_vocab_size()), getattr(torch, args.dtype))
    adam, muon = optimisers(model, args.lr)
    checkpoint = args.data / "checkpoint.pt"
    step = tokens = 0
    spent = 0.0
    if args.resume:
        c = torch.load(checkpoint)
        model.load_state_dict(c["model"])
        adam.load_state_dict(c["adam"])
        muon.state = c["muon"]
        step, tokens, spent = c["step"], c["tokens"], c["spent"]
    batches = Batches(sets["train"], tok, args.seed + step, args.batch_tokens, args.context, args.tale_share[0])
    log = open(args.data / "train.log", "a")

    def say(text):
        print(text, flush=True)
        print(text, file=log, flush=True)

    say(f"{sum(p.numel() for p in model.parameters())} parameters, {args}")
    start = time.monotonic() - spent
    saved, running = time.monotonic(), None
    while True:
        spent = time.monotonic() - start
        done = spent / (args.minutes * 60)
        if done >= 1:
            break
        rate = muon.scale = schedule(done, args.hold)
        for g in adam.param_groups:
            g["lr"] = g["top"] * rate
        batches.tale_share = args.tale_share[done > args.hold]
        parts = [batches.next() for _ in range(args.micro)]
        learned = sum((y >= 0).sum().item() for _, y in parts)
        total = 0.0
        for x, y in parts:
            nats = loss_sum(model, x, y)
            balance = sum(b.experts.balance_loss for b in model.blocks) / model.c.n_layer
            z = sum(b.experts.z_loss for b in model.blocks) / model.c.n_layer
            (nats / learned + (BALANCE * model.c.n_layer * balance + Z * z) / args.micro).backward()
            total += nats.item()
            tokens += x.numel()
        torch.nn.utils.clip_grad_norm_([p for g in adam.param_groups for p in g["params"]], 1.0)
        adam.step()
        muon.step()
        model.zero_grad(set_to_none=True)
        step += 1
        running = total / learned if running is None else 0.95 * running + 0.05 * total / learned
        if step % 10 == 0:
            spent = time.monotonic() - start
            say(f"step {step} {spent / 60:.1f} min {tokens / 1e6:.2f} M tokens {tokens / spent:.0f}/s "
                f"rate {rate:.3f} loss {running:.3f} balance {balance.item():.3f} z {z.item():.2f}")
        if time.monotonic() - saved > args.save_minutes * 60:
            save(checkpoint, model, adam, muon, step, tokens, time.monotonic() - start)
            if args.check:
                r = evaluate(model, tok, sets["held_out"], args.context, args.check)
                say(f"held out: tiny {r['tiny']['nats_per_token']:.3f} tale {r['tale']['nats_per_token']:.3f} "
                    f"experts {min(map(min, r['usage'])):.3f} to {max(map(max, r['usage'])):.3f}")
            saved = time.monotonic()
    save(checkpoint, model, adam, muon, step, tokens, spent)


def save(path, model, adam, muon, step, tokens, spent):
    torch.save(dict(model=model.state_dict(), adam=adam.state_dict(), muon=muon.state, step=step, tokens=tokens,
                    spent=spent, config=vars(model.c)), str(path) + ".new")
    os.replace(str(path) + ".new", path)


if __name__ == "__main__":
    main()
