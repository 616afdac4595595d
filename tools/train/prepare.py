#!/usr/bin/env python3
"""Reads the corpus, cleans it, splits it into stories, and trains the vocabulary.

    prepare.py --corpus ../shared/corpus --out DIR

Writes DIR/stories.json ({"train": [...], "held_out": [...]}, each entry {"text",
"kind": "tiny" | "tale", "first": does a story begin here?, "last": does one end?})
and DIR/tokenizer.json (byte-level BPE).
"""
import argparse, collections, hashlib, json, pathlib, re

VOCAB_SIZE = 4096
SPECIALS = ["<|endoftext|>", "<|im_start|>", "<|im_end|>"]
# The pre-tokenizer other engines know as "qwen2".
QWEN2_SPLIT = (r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}|"
               r" ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+")
TALE_CHARS = 1900       # a long tale is cut at paragraph ends into parts of about this size
HELD_OUT_IN_100 = 2

# --- cleaning ---------------------------------------------------------------------------------

MOJIBAKE = [("â€œ", '"'), ("â€˜", "'"), ("â€™", "'"), ("â€¦", "..."), ("â€“", "-"), ("â€”", "-"),
            ("â€\x9d", '"'), ("â€", '"')]
PLAIN = str.maketrans({"“": '"', "”": '"', "‘": "'", "’": "'", "–": "-", "—": "-", "\r": None,
                       "…": "...", "\u00a0": " "})


def clean(text):
    for bad, good in MOJIBAKE:
        text = text.replace(bad, good)
    text = text.translate(PLAIN)
    text = re.sub(r"[ \t]+", " ", text)
    text = re.sub(r" *\n *", "\n", text)
    text = re.sub(r"\n+", "\n\n", text)
    return text.strip()


def unwrap(text):
    """Joins lines that were broken at a column; a line that ends a sentence ends a paragraph."""
    return re.sub(r"(?<![.!?:;\"'])(\r?\n)+(?=[A-Za-z,;\"'(-])", " ", text)


def is_odd(text):
    return any(ord(c) > 126 for c in text)


# --- splitting into stories --------------------------------------------------------------------

OPENING = re.compile(r"(once upon a time|once there |once, |there once |there was once |long ago|"
                     r"(one|on a) [a-z ]*day,? (a|an|two|three|there|in a) )", re.I)


SENTENCE_END = re.compile(r"(?<=[.!?][\"'])\s+(?=[A-Z])|(?<=[.!?])\s+(?=[A-Z])")


def split_by_lines(text):
    """Paragraphs are parted by an empty line, stories by a single line end."""
    return re.split(r"(?<!\n)\n(?!\n)", text)


def split_by_openings(text):
    stories = [[]]
    for paragraph in re.split(r"\n\s*\n", text):
        if OPENING.match(paragraph.strip()):
            stories.append([])
        stories[-1].append(paragraph)
    return ["\n\n".join(s) for s in stories[1:]]


def split_tale(text):
    """Cuts a tale at paragraph ends (at sentence ends where a paragraph is too long)."""
    pieces = []
    for paragraph in text.split("\n\n"):
        if len(paragraph) <= TALE_CHARS:
            pieces.append(("\n\n", paragraph))
            continue
        for i, sentence in enumerate(SENTENCE_END.split(paragraph)):
            pieces.append(("\n\n" if i == 0 else " ", sentence))
    parts, part = [], ""
    for gap, piece in pieces:
        if part and len(part) + len(piece) > TALE_CHARS:
            parts.append(part)
            part = ""
        part = part + gap + piece if part else piece
    if len(part) < 300 and parts:
        parts[-1] += "\n\n" + part
    elif part:
        parts.append(part)
    return [p for p in parts if len(p) < TALE_CHARS * 1.4]


# --- giving a lower-cased slice its capitals back ----------------------------------------------

WORD = re.compile(r"[A-Za-z]+(?:'[a-z]+)?")
SAYS = re.compile(r"(?:\w+ ){0,2}(?:said|asked|replied|cried|shouted|exclaimed|yelled|answered|called|whispered)\b",
                  re.I)
NAMED = re.compile(r"\b(?:named|called|name was|name is) ([a-z]+)\b")


def word_walk(text):
    """Yields (match, previous word in lower case or '', starts a sentence?)."""
    previous, end = "", 0
    for m in WORD.finditer(text):
        between = text[end:m.start()]
        starts = end == 0 or bool(re.search(r"[.!?\n]|[,:] \"$", between))
        if between in ('!" ', '?" ') and SAYS.match(text, m.start()):
            starts = False                                      # "Hello!" he said
        yield m, previous, starts
        previous, end = m.group().lower(), m.end()


class Recaser:
    """Learns from cased texts how often a word has a capital inside a sentence, alone and after another."""

    def __init__(self, cased_texts):
        self.pair = collections.defaultdict(lambda: [0, 0])     # (previous, word): times lower, times upper
        self.single = collections.defaultdict(lambda: [0, 0])
        for text in cased_texts:
            for m, previous, starts in word_walk(text):
                if not starts:
                    word = m.group()
                    self.pair[previous, word.lower()][word[0].isupper()] += 1
                    self.single[word.lower()][word[0].isupper()] += 1

    def __call__(self, text):
        names = {n for n in NAMED.findall(text) if self.single[n][0] < 200} - {"the", "a", "it", "him", "her"}
        out, end = [], 0
        for m, previous, starts in word_walk(text):
            word = m.group()
            lower, upper = self.pair[previous, word] if (previous, word) in self.pair else (0, 0)
            all_lower, all_upper = self.single[word] if word in self.single else (0, 0)
            share = (upper + 2 * (all_upper + 0.05) / (all_lower + all_upper + 1)) / (lower + upper + 2)
            if word in names and previous not in ("a", "an", "the", "his", "her", "their", "my", "your", "to"):
                share = 1
            out.append(text[end:m.start()])
            out.append(word[0].upper() + word[1:] if starts or share > 0.5 else word)
            end = m.end()
        out.append(text[end:])
        return "".join(out)


# --- the whole --------------------------------------------------------------------------------

def fingerprint(text):
    return re.sub(r"[^a-z]", "", text.lower())[:150]


def check_recasing(recase, cased, lowered):
    """Prints how many words come out wrong in the stories that are there in both forms."""
    by_print = {fingerprint(s): s for s in cased}
    words = wrong = 0
    for s in lowered:
        gold, ours = by_print.get(fingerprint(s), ""), recase(s)
        if gold.lower() == ours.lower():
            pairs = list(zip(WORD.findall(gold), WORD.findall(ours)))
            words += len(pairs)
            wrong += sum(a[0] != b[0] for a, b in pairs)
    print(f"re-casing: {wrong} of {words} words differ where the cased text is known")


def read_corpus(root):
    """Yields (text, kind). The lower-cased slice comes after the cased ones, so that they win as duplicates."""
    read = lambda p: p.read_text(encoding="utf-8", errors="replace")
    tiny = root / "tinystories-slices"
    cased = read(tiny / "mines-10k.txt").split("<|endoftext|>")
    cased += split_by_lines(read(tiny / "smallGPT.txt"))
    cased += split_by_openings(read(tiny / "yuninxia-val.txt"))
    cased = [clean(s) for s in cased]
    lowered = [clean(s) for s in split_by_lines(read(tiny / "arnoochka.txt"))]
    recase = Recaser(cased)
    check_recasing(recase, cased, lowered)
    for s in cased:
        yield s, "tiny"
    for s in lowered:
        yield recase(s), "tiny"

    for path in sorted((root / "grimm").glob("*.txt")):
        yield clean(unwrap(read(path))), "tale"
    for s in read(root / "fairytaleqa" / "stories.txt").split("<|endofstory|>"):
        yield clean(unwrap(s)), "tale"


def main():
    ap = argparse.ArgumentParser()
    ap.add_argument("--corpus", type=pathlib.Path, default="../shared/corpus")
    ap.add_argument("--out", type=pathlib.Path, required=True)
    args = ap.parse_args()
    args.out.mkdir(parents=True, exist_ok=True)

    seen, sets = set(), {"train": [], "held_out": []}
    counts = collections.Counter()
    for text, kind in read_corpus(args.corpus):
        mark = fingerprint(text)
        if len(text) < 200 or mark in seen or (is_odd(text) and kind == "tiny"):
            counts[kind, "left out"] += 1
            continue
        seen.add(mark)
        # By document, and by its content, so that the choice does not depend on the order.
        held = int(hashlib.sha256(mark.encode()).hexdigest(), 16) % 100 < HELD_OUT_IN_100
        parts = split_tale(text) if kind == "tale" or len(text) > 2400 else [text]
        if kind == "tiny" and not re.search(r"[.!?\"']$", text):
            parts = []                                          # cut off in the slice
        for i, part in enumerate(parts):
            sets["held_out" if held else "train"].append(
                {"text": part, "kind": kind, "first": i == 0, "last": i == len(parts) - 1})
            counts[kind, "held out" if held else "train"] += 1
            counts[kind, "characters"] += len(part)
    print(dict(counts))
    (args.out / "stories.json").write_text(json.dumps(sets))

    from tokenizers import Regex, Tokenizer, decoders, models, pre_tokenizers, trainers
    tok = Tokenizer(models.BPE())
    tok.pre_tokenizer = pre_tokenizers.Sequence([
        pre_tokenizers.Split(Regex(QWEN2_SPLIT), behavior="isolated"),
        pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)])
    tok.decoder = decoders.ByteLevel()
    tok.train_from_iterator((s["text"] for s in sets["train"]), trainers.BpeTrainer(
        vocab_size=VOCAB_SIZE, special_tokens=SPECIALS, show_progress=False,
        initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet())))
    tok.save(str(args.out / "tokenizer.json"))
    for kind in ("tiny", "tale"):
        texts = [s["text"] for s in sets["train"] if s["kind"] == kind]
        n = sum(len(tok.encode(t).ids) for t in texts)
        print(f"{kind}: {n} tokens, {sum(map(len, texts)) / n:.2f} characters per token")


if __name__ == "__main__":
    main()
