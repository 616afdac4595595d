"""Turns a story into a training text: plain, or as the answer to a request in ChatML.

A text is a list of (piece, learn) pairs; the loss is taken on the pieces with learn = True.
"""
import collections, re

WORD = re.compile(r"[a-z]+")
NOT_NOUNS = set("""one two three first next same other others another last very most best more new big little good day
time way lot bit end while moment it he she they him her them his its this that then there what who big old all some
was is had said and but so as if in on at to of for with from by up down out off back away only own rest""".split())
AFTER_NOUN = set("""and was is had said that who in on at to of for with from by were could would did has can went
came asked""".split())
SYSTEM = ["You are a helpful assistant.", "You are a storyteller.", "You tell short stories for children.",
          "You write little stories in simple words."]
ASK = ["Tell me a story", "Tell me a short story", "Tell me a little story", "Tell a story", "Write a story",
       "Write a short story", "Write me a story", "Write a little story", "Please tell me a story",
       "Please write a short story", "Can you tell me a story", "Could you write a story", "I want to hear a story",
       "I would like a story", "tell me a story", "write a story", "A story", "Make up a story"]
AGAIN = ["Tell me another story", "Another story, please", "Now a story", "One more story", "Tell me one more"]
ON = ["Continue this story: ", "Continue this story:\n\n", "Please continue: ", "Go on with this story: ", "", "", ""]
HELLO = ["Hello", "Hi", "Hello!", "Hi!", "hello", "hi", "Hey", "Good morning!", "Hi there!"]
WELCOME = ["Hello! What would you like to hear a story about?", "Hello! Shall I tell you a story?",
           "Hi! I can tell you a story. What should it be about?"]


class Renderer:
    def __init__(self, stories):
        """Learns from the text which words are nouns, and which of them take "a" or "an"."""
        count, noun, single = (collections.Counter() for _ in range(3))
        self.documents = collections.Counter()
        for s in stories:
            words = re.findall(r"[a-z]+|[^a-z ]", s["text"])
            self.documents.update(set(words))
            for a, w, b in zip(words, words[1:], words[2:]):
                if len(w) < 3:
                    continue
                count[w] += 1
                if a in ("a", "an", "the", "her", "his") and (b in AFTER_NOUN or b in ".,!?\n"):
                    noun[w] += 1
                    single[w] += a in ("a", "an")
        self.nouns = {w for w, n in noun.items() if n >= 6 and n > 0.16 * count[w] and w not in NOT_NOUNS}
        self.single = {w for w in self.nouns if single[w] > 0.03 * noun[w]}

    def with_article(self, w):
        if w not in self.single:
            return w
        return ("an " if w[0] in "aeiou" and not w.startswith(("uni", "one")) else "a ") + w

    def subject(self, text, rng):
        """What the story is about, as someone who asks for it would say it."""
        words = [w for w in WORD.findall(text) if w in self.nouns]
        if not words:
            return None
        often = collections.Counter(words)
        first = [w for w in WORD.findall(text[:200]) if w in self.nouns]
        chosen = []
        for _ in range(rng.choice((1, 1, 2, 2, 2, 2, 3, 3))):
            if first and rng.random() < 0.4:
                w = rng.choice(first)
            else:
                keys = list(often)
                w = rng.choices(keys, [often[k] / self.documents[k] ** 0.4 for k in keys])[0]
            if w not in chosen:
                chosen.append(w)
        things = [self.with_article(w) for w in chosen]
        name = re.search(r"\b(?:an?|the) ((?:[a-z]+ ){0,2}[a-z]+) (named|called) ([A-Z][a-z]+)", text[:400])
        if name and rng.random() < 0.3:
            who = rng.choice([name.group(3), f"{self.a(name.group(1))} {name.group(2)} {name.group(3)}"])
            things = [who] + [t for t in things if t.split()[-1] not in who][:2]
        elif rng.random() < 0.5:
            rng.shuffle(things)
        if len(things) == 1:
            return things[0]
        return ", ".join(things[:-1]) + rng.choice((" and ", " and ", ", and ")) + things[-1] if len(things) > 2 \
            else " and ".join(things)

    def a(self, phrase):
        return ("an " if phrase[0] in "aeiou" else "a ") + phrase

    def request(self, text, rng, again=False):
        """(what the user says, what the assistant answers)"""
        kind = rng.random()
        end = re.search(r"[.!?][\"']?\s", text)
        if kind < 0.18 and end and end.end() < 250 and not again:
            return rng.choice(ON) + text[:end.end()].strip(), text[end.end():].strip()
        ask = rng.choice(AGAIN if again else ASK)
        subject = self.subject(text, rng) if kind < 0.93 else None
        if subject:
            ask += " about " + subject
        if ask.startswith(("Can", "Could")):
            ask += "?"
        elif rng.random() < 0.7:
            ask += rng.choice("...!")
        return ask, text

    def __call__(self, story, rng):
        text, how = story["text"], rng.random()
        if how < 0.35 or not (story["first"] and story["last"]) and (how < 0.75 or not story["first"]):
            begin = [("<|endoftext|>", False)] if story["first"] and rng.random() < 0.5 else []
            return begin + [(text + ("<|endoftext|>" if story["last"] else ""), True)]
        out = []
        if rng.random() < 0.1:
            out.append((f"<|im_start|>system\n{rng.choice(SYSTEM)}<|im_end|>\n", False))
        turn = lambda user: (f"<|im_start|>user\n{user}<|im_end|>\n<|im_start|>assistant\n", False)
        again = False
        if rng.random() < 0.02:
            out += [turn(rng.choice(HELLO)), (rng.choice(WELCOME) + "<|im_end|>", True), ("\n", False)]
        elif self.before and rng.random() < 0.06:
            user, answer = self.request(self.before, rng)
            out += [turn(user), (answer + "<|im_end|>", False), ("\n", False)]
            again = rng.random() < 0.6
        if story["kind"] == "tiny" and len(text) < 1000:
            self.before = text
        user, answer = self.request(text, rng, again)
        return out + [turn(user), (answer + ("<|im_end|>" if story["last"] else ""), True)]

    before = None
