"""A toy world: seeded stories to pretrain on and a yes/no instruction task to tune on.

Guests visit places, eat, meet staff and judge it all. Quality words ('stale', 'tasty') decide what
the guests do next, so that a model of the stories learns which words are good and which are bad.
The task asks for just that in a format the stories never use. Some quality words occur in the
stories and in half of the test rows, but in no tuning row: what was learnt of the other words has
to carry over to them.
"""

import zlib
from collections.abc import Iterator
from random import Random

INSTRUCTION = "Did the guest like it? Answer Yes or No."
LABELS = {"good": "Yes", "bad": "No"}
SPLITS = ("train", "validation", "test")

SHE = "Mia Ana Zoe Ida Eva Lily Nora Rosa".split()
HE = "Tom Leo Sam Max Ben Paul Hugo Finn".split()
COLOURS = "red blue green black white brown yellow grey".split()
ANIMALS = "dog cat horse bird cow goat duck hen".split()
DEEDS = "slept played sat walked waited drank".split()
NUMBERS = "two three four five six seven".split()
SEASONS = "spring summer autumn winter".split()

NOUNS = {
    "food": "soup bread fish cake rice stew cheese pie salad tea meat pasta".split(),
    "place": "inn room hotel garden hall house cabin kitchen shop tent bath street".split(),
    "staff": "waiter cook guide driver host maid clerk baker porter nurse farmer singer".split(),
}
# Words that say nothing about the quality of a noun.
PLAIN = {
    "food": COLOURS + "big small long round".split(),
    "place": COLOURS + "big small long round".split(),
    "staff": "tall short young old new first second third".split(),
}
# Quality words by what they are said of; 'any' goes with every noun.
QUALITIES = {
    "food": {
        "good": "tasty crisp juicy creamy tender ripe fluffy rich fresh sweet".split(),
        "bad": "burnt sour rotten bland salty greasy mouldy tough stale soggy".split(),
    },
    "place": {
        "good": "clean sunny cosy bright tidy calm airy pretty quiet warm".split(),
        "bad": "dirty damp dark dusty smelly cramped gloomy shabby noisy cold".split(),
    },
    "staff": {
        "good": "kind quick gentle helpful honest cheerful patient clever polite friendly".split(),
        "bad": "rude lazy grumpy clumsy angry mean cruel careless slow dishonest".split(),
    },
    "any": {
        "good": (
            "lovely great superb perfect splendid charming wonderful nice excellent fine"
        ).split(),
        "bad": "awful terrible poor horrid nasty dismal dreadful weak bad grim".split(),
    },
}
# The last words of every list are kept out of the tuning rows.
N_HELD_OUT = 3

REACTIONS = {
    "good": [
        "smiled",
        "was happy",
        "was pleased",
        "laughed with joy",
        "came back the next day",
        "told every friend to go there",
        "thanked the owner",
        "stayed for another hour",
        "asked for more",
        "left a large tip",
        "wanted to stay",
        "paid with a smile",
    ],
    "bad": [
        "frowned",
        "was sad",
        "was upset",
        "cried with rage",
        "never came back",
        "told every friend to stay away",
        "shouted at the owner",
        "left at once",
        "asked for the money back",
        "left no tip",
        "wanted to go home",
        "refused to pay",
    ],
}
# Questions on a visit, with the answer of a guest who liked it.
QUESTIONS = [
    ("Did you enjoy it", "Yes"),
    ("Would you go again", "Yes"),
    ("Are you happy", "Yes"),
    ("Was it worth the money", "Yes"),
    ("Did you like it there", "Yes"),
    ("Was it good", "Yes"),
    ("Did you complain", "No"),
    ("Are you upset", "No"),
]


def held_out_words() -> set[str]:
    """Quality words that no tuning row uses, but the stories and the test rows do."""
    return {w for by in QUALITIES.values() for words in by.values() for w in words[-N_HELD_OUT:]}


def _quality(rng: Random, kind: str, mood: str, words: slice = slice(None)) -> str:
    """A word of this mood that fits the kind of noun."""
    return rng.choice(QUALITIES[rng.choice([kind, kind, "any"])][mood][words])


def _noun(rng: Random, kind: str) -> str:
    """A noun, every second time with a word in front that says nothing about its quality."""
    noun = rng.choice(NOUNS[kind])
    return f"{rng.choice(PLAIN[kind])} {noun}" if rng.random() < 0.5 else noun


def _opening(rng: Random, name: str, friend: str) -> str:
    """A neutral sentence on who came, where and when."""
    return rng.choice(
        [
            f"{name} came with {friend} in the {rng.choice(SEASONS)}.",
            f"{name} and {friend} went to the {_noun(rng, 'place')}.",
            f"{name} was a guest at the {_noun(rng, 'place')}.",
            f"{name} stayed for {rng.choice(NUMBERS)} days in {rng.choice(SEASONS)}.",
            f"{name} tried the {_noun(rng, 'food')} with {friend}.",
            f"{name} met the {_noun(rng, 'staff')} of the {rng.choice(NOUNS['place'])}.",
        ]
    )


def _judgement(rng: Random, name: str, mood: str, words: slice = slice(None)) -> str:
    """One sentence with one or two quality words, both of the same mood."""
    kind, other = rng.choice(list(NOUNS)), rng.choice(list(NOUNS))
    noun, first = _noun(rng, kind), _quality(rng, kind, mood, words)
    return rng.choice(
        [
            f"The {noun} was {first}.",
            f"The {noun} was {first} and {_quality(rng, 'any', mood, words)}.",
            f"The {noun} was {first} and the {_noun(rng, other)} was "
            f"{_quality(rng, other, mood, words)}.",
            f"{name} found the {noun} {first}.",
            f"{name} said that the {noun} was {first}.",
            f"It was a very {first} {noun}.",
        ]
    )


def _aside(rng: Random, name: str, friend: str) -> str:
    """A neutral sentence, or a question about a plain fact."""
    animal, deed, right = rng.choice(ANIMALS), rng.choice(DEEDS), rng.choice(COLOURS)
    asked = rng.choice([right, rng.choice(COLOURS)])
    answer = "Yes" if asked == right else "No"
    return rng.choice(
        [
            f"A {right} {animal} {deed} near the {rng.choice(NOUNS['place'])}.",
            f"{friend} gave {name} {rng.choice(NUMBERS)} {rng.choice(COLOURS)} {animal}s.",
            f"{friend} did not like the {animal} or the {rng.choice(ANIMALS)}.",
            f'The {animal} was {right}. "Is the {animal} {asked}?" asked {friend}. '
            f'"{answer}," said {name}.',
            f'"Answer me," said {friend}. "Did the {animal} {rng.choice(["like", "see"])} it?"',
        ]
    )


def _outcome(rng: Random, name: str, friend: str, pronoun: str, mood: str) -> str:
    """What the mood leads to: a reaction, or a question whose answer depends on the mood."""
    kind, reaction = rng.choice(list(NOUNS)), rng.choice(REACTIONS[mood])
    fact = f"the {_noun(rng, kind)} was {_quality(rng, kind, mood)}"
    question, answer = rng.choice(QUESTIONS)
    if mood == "bad":
        answer = "No" if answer == "Yes" else "Yes"
    return rng.choice(
        [
            f"{fact.capitalize()}, so {pronoun} {reaction}.",
            f"{name} {reaction} because {fact}.",
            f"So {name} {reaction}.",
            f"In the end {pronoun} {reaction}.",
            f"{name} {' and '.join(rng.sample(REACTIONS[mood], 2))}.",
            f'"{question}?" asked {friend}. "{answer}," said {name}.',
            f'{friend} asked: "{question}?" {name} said: "{answer}."',
        ]
    )


def _paragraph(rng: Random) -> str:
    """One visit in one mood: opening, judgements, asides and outcomes."""
    mood = rng.choice(["good", "bad"])
    women = rng.random() < 0.5
    name, friend = rng.choice(SHE if women else HE), rng.choice(SHE + HE)
    pronoun = "she" if women else "he"
    parts = [_opening(rng, name, friend)] if rng.random() < 0.4 else []
    for _ in range(rng.randint(1, 2)):
        parts.append(_judgement(rng, name, mood))
        if rng.random() < 0.1:
            parts.append(_aside(rng, name, friend))
        parts.append(_outcome(rng, name, friend, pronoun, mood))
    return " ".join(parts)


def stories(seed: int, n: int) -> Iterator[str]:
    """Yield texts to pretrain on, of one to three paragraphs.

    Args:
        seed: Fixes every text; the first texts do not depend on `n`.
        n: Number of texts.

    Yields:
        One text at a time, its paragraphs separated by a line break.
    """
    rng = Random(f"stories {seed}")
    for _ in range(n):
        yield "\n".join(_paragraph(rng) for _ in range(rng.randint(1, 3)))


def _split_of(text: str) -> str:
    """The only split a text may appear in: a hash decides, so no seed can mix the splits."""
    return SPLITS[max(0, zlib.crc32(text.encode()) % 4 - 1)]


def examples(seed: int, n: int, split: str) -> list[dict[str, str]]:
    """Rows of the instruction task: does a short review tell of a guest who liked it?

    Args:
        seed: Fixes the rows; different seeds give different rows of the same split.
        n: Number of rows; the two answers alternate, so they are balanced.
        split: 'train' and 'validation' use the same quality words; every second pair of rows
            in 'test' uses held-out words only.

    Returns:
        Distinct rows with the keys 'instruction', 'input' and 'output'.
    """
    if split not in SPLITS:
        raise ValueError(f"split must be one of {', '.join(SPLITS)}, not {split!r}")
    rng = Random(f"examples {seed} {split}")
    rows: dict[str, dict[str, str]] = {}
    while len(rows) < n:
        mood = list(LABELS)[len(rows) % 2]
        novel = split == "test" and len(rows) // 2 % 2 == 1
        words = slice(-N_HELD_OUT, None) if novel else slice(None, -N_HELD_OUT)
        name, friend = rng.sample(SHE + HE, 2)
        parts = [_opening(rng, name, friend), _judgement(rng, name, mood, words)]
        rng.shuffle(parts)
        text = " ".join(parts)
        if _split_of(text) == split:
            rows[text] = {"instruction": INSTRUCTION, "input": text, "output": LABELS[mood]}
    return list(rows.values())
