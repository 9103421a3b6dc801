"""The questions that the demo model is trained for, and how to check an answer.

This module needs nothing but the standard library, so that a test can ask the same questions of a
running server and check its replies with the same rules:

    for question in held_out_questions("addition", num=50, seed=1):
        reply = ask_the_server(question.text)
        ok = question.check(reply)

Every question is about a *fact* ("47 + 38", "3 days after Monday"). A fact is held out of training
when the hash of its key says so; a held-out fact is never asked in training, in any wording. Small ones
are stated there all the same, as a part of other answers: 11 sums of two digits are held out, and each
of them is a column of longer sums ("Ones: 7 + 9 = 16").
Where there are too few facts for that (opposites, "the day after Monday", stories), the key is the
fact together with its wording: then the fact was seen in training, but not asked in this way.
"""

import dataclasses
import hashlib
import random
import re
from typing import Callable, Iterator

import stories
import unknowns

HELD_OUT_PERCENT = 15

DAYS = ["Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday"]
MONTHS = ["January", "February", "March", "April", "May", "June", "July", "August", "September",
          "October", "November", "December"]
NUMBER_WORDS = {2: "two", 3: "three", 4: "four", 5: "five", 6: "six", 7: "seven"}

# Every word has one partner only, so that each question has one right answer.
OPPOSITES = [
    ("hot", "cold"), ("big", "small"), ("up", "down"), ("day", "night"), ("happy", "sad"),
    ("fast", "slow"), ("open", "closed"), ("wet", "dry"), ("rich", "poor"), ("strong", "weak"),
    ("early", "late"), ("full", "empty"), ("loud", "quiet"), ("clean", "dirty"), ("near", "far"),
    ("high", "low"), ("love", "hate"), ("black", "white"), ("first", "last"), ("good", "bad"),
    ("inside", "outside"), ("push", "pull"), ("win", "lose"), ("buy", "sell"), ("true", "false"),
    ("young", "old"), ("thick", "thin"), ("wide", "narrow"), ("deep", "shallow"),
    ("sharp", "blunt"), ("heavy", "light"), ("smooth", "rough"), ("always", "never"),
    ("above", "below"), ("before", "after"), ("begin", "end"), ("give", "take"),
    ("brave", "cowardly"), ("friend", "enemy"), ("war", "peace"), ("north", "south"),
    ("east", "west"), ("summer", "winter"), ("question", "answer"), ("awake", "asleep"),
    ("alive", "dead"), ("safe", "dangerous"), ("simple", "complicated"), ("sweet", "sour"),
    ("laugh", "cry"), ("more", "less"), ("same", "different"), ("many", "few"),
    ("beautiful", "ugly"), ("polite", "rude"), ("cheap", "expensive"), ("import", "export"),
    ("success", "failure"), ("arrive", "depart"), ("generous", "stingy"),
]
OPPOSITE_OF = {a: b for a, b in OPPOSITES} | {b: a for a, b in OPPOSITES}

ADDITION_WORDINGS = [
    "What is {a} + {b}?", "What is {a} plus {b}?", "Add {a} and {b}.", "{a} + {b} = ?",
    "{a}+{b}", "How much is {a} plus {b}?", "Calculate {a} + {b}.", "What's {a}+{b}?",
    "What is the sum of {a} and {b}?", "{a} + {b}", "How much is {a} + {b}?", "What is {a}+{b}?",
]
NEXT_WORDINGS = [
    "What day comes after {x}?", "Which day is after {x}?", "What is the day after {x}?",
    "Today is {x}. What day is tomorrow?", "What is the next day after {x}?",
    "If today is {x}, what day is it tomorrow?", "Which day follows {x}?",
    "What weekday comes after {x}?",
]
PREVIOUS_WORDINGS = [
    "What day comes before {x}?", "Which day is before {x}?", "What is the day before {x}?",
    "Today is {x}. What day was yesterday?", "What is the previous day before {x}?",
    "If today is {x}, what day was it yesterday?", "Which day precedes {x}?",
    "What weekday comes before {x}?",
]
MONTH_WORDINGS = [
    "What month comes {way} {x}?", "Which month is {way} {x}?", "What is the month {way} {x}?",
    "Which month comes right {way} {x}?", "Name the month {way} {x}.",
]
STEPS_WORDINGS = [
    "What {unit} is {n} {unit}s {way} {x}?", "Which {unit} is {n} {unit}s {way} {x}?",
    "Which {unit} comes {n} {unit}s {way} {x}?", "{n} {unit}s {way} {x} is which {unit}?",
]
OPPOSITE_WORDINGS = [
    "What is the opposite of {x}?", "Tell me the opposite of {x}.", "What's the opposite of {x}?",
    "Which word is the opposite of {x}?", "Give me the opposite of {x}.", "Opposite of {x}?",
    "What is the antonym of {x}?", "What word means the opposite of {x}?",
]


@dataclasses.dataclass(frozen=True)
class Question:
    """One question with a right answer; `check(reply)` says whether a reply is right."""

    category: str
    key: str
    text: str
    answer: str
    check: Callable[[str], bool]


def is_held_out(key: str) -> bool:
    """Whether the fact is kept out of training; depends on nothing but the key."""
    digest = hashlib.sha256(key.encode()).digest()
    return int.from_bytes(digest[:4], "big") % 100 < HELD_OUT_PERCENT


def _equals(answer: str) -> Callable[[str], bool]:
    return lambda reply: reply.strip() == answer


def _ends_with_word(word: str) -> Callable[[str], bool]:
    """Right when the last sentence ends in `word`; what was worked out before it is free."""
    return lambda reply: re.search(rf"\b{re.escape(word)}\.$", reply.strip()) is not None


def addition_answer(a: int, b: int) -> str:
    """Repeats the sum and works digit by digit, so that every step needs one small fact only."""
    ones = a % 10 + b % 10
    carry = ones // 10
    carried = f", carry {carry}" if carry else ""
    plus_carry = f" + {carry}" if carry else ""
    tens = (f"Tens: {a // 10} + {b // 10}{plus_carry} = {a // 10 + b // 10 + carry}. "
            if a > 9 or b > 9 else "")
    return (f"{a} + {b}. Ones: {a % 10} + {b % 10} = {ones}{carried}. {tens}"
            f"So {a} + {b} = {a + b}.")


def addition(rng: random.Random) -> Question:
    small = rng.random() < 0.15
    a, b = rng.randrange(10 if small else 100), rng.randrange(20 if small else 100)
    if rng.random() < 0.5:
        a, b = b, a
    text = rng.choice(ADDITION_WORDINGS).format(a=a, b=b)
    # Both orders of the summands share a key: 38 + 47 must not give 47 + 38 away.
    return Question("addition", f"add {min(a, b)} {max(a, b)}", text, addition_answer(a, b),
                    _ends_with_word(str(a + b)))


def _one_step(rng: random.Random, unit: str, names: list[str]) -> Question:
    way = rng.choice(["after", "before"])
    start = rng.randrange(len(names))
    if unit == "month":
        wording = rng.choice(MONTH_WORDINGS)
    else:
        wording = rng.choice(NEXT_WORDINGS if way == "after" else PREVIOUS_WORDINGS)
    end = names[(start + (1 if way == "after" else -1)) % len(names)]
    text = wording.format(x=names[start], way=way)
    return Question("calendar", f"step {wording} {way} {names[start]}", text,
                    f"The {unit} {way} {names[start]} is {end}.", _ends_with_word(end))


def _many_steps(rng: random.Random, unit: str, names: list[str]) -> Question:
    way = rng.choice(["after", "before"])
    sign = 1 if way == "after" else -1
    start, steps = rng.randrange(len(names)), rng.choice(list(NUMBER_WORDS))
    passed = [names[(start + sign * i) % len(names)] for i in range(1, steps + 1)]
    number = NUMBER_WORDS[steps] if rng.random() < 0.4 else str(steps)
    text = rng.choice(STEPS_WORDINGS).format(unit=unit, n=number, way=way, x=names[start])
    counted = ", ".join(f"{i} {name}" for i, name in enumerate(passed, 1))
    answer = f"{steps} {unit}s {way} {names[start]}: {counted}. The answer is {passed[-1]}."
    return Question("calendar", f"steps {steps} {way} {names[start]}", text[0].upper() + text[1:],
                    answer, _ends_with_word(passed[-1]))


def calendar(rng: random.Random) -> Question:
    unit, names = ("day", DAYS) if rng.random() < 0.6 else ("month", MONTHS)
    return (_one_step if rng.random() < 0.5 else _many_steps)(rng, unit, names)


def opposites(rng: random.Random) -> Question:
    word = rng.choice(list(OPPOSITE_OF))
    wording = rng.choice(OPPOSITE_WORDINGS)
    answer = f"The opposite of {word} is {OPPOSITE_OF[word]}."
    return Question("opposites", f"opposite {wording} {word}", wording.format(x=word), answer,
                    _ends_with_word(OPPOSITE_OF[word]))


def story(rng: random.Random) -> Question:
    asked = stories.ask(rng)
    return Question("story", asked.key, asked.text, asked.answer, asked.check)


def unknown(rng: random.Random) -> Question:
    """A question outside the family; the one right answer is to say so."""
    text = unknowns.ask(rng)
    return Question("unknown", f"unknown {text}", text, unknowns.ANSWER, _equals(unknowns.ANSWER))


CATEGORIES: dict[str, Callable[[random.Random], Question]] = {
    "addition": addition, "calendar": calendar, "opposites": opposites, "story": story,
    "unknown": unknown,
}

PREFIXES = ["Please tell me: ", "Hi! ", "Hello! ", "Hey, ", "I have a question. ", "Ok. ",
            "Now: ", "And ", "Next question: ", "Can you help me? "]
SUFFIXES = [" Please.", " Thanks!", " Thank you.", " please"]


def dress(text: str, rng: random.Random) -> str:
    """Varies a question the way that people do: greeting, no capitals, no full stop."""
    if rng.random() < 0.5:
        return text
    if rng.random() < 0.3:
        text = rng.choice(PREFIXES) + text
    if rng.random() < 0.15:
        text = text + rng.choice(SUFFIXES)
    if rng.random() < 0.3:
        text = text.lower()
    if rng.random() < 0.3:
        text = text.rstrip("?.! ")
    return text


def training_question(category: str, rng: random.Random) -> Question:
    """A question about a fact that is not held out, dressed."""
    while True:
        question = CATEGORIES[category](rng)
        if not is_held_out(question.key):
            return dataclasses.replace(question, text=dress(question.text, rng))


def held_out_questions(category: str, num: int, seed: int) -> Iterator[Question]:
    """`num` different held-out facts, or as many as there are, dressed. Repeats for the same seed."""
    rng = random.Random(f"{category} {seed}")
    seen: set[str] = set()
    for _ in range(1000 * num):
        if len(seen) == num:
            return
        question = CATEGORIES[category](rng)
        if is_held_out(question.key) and question.key not in seen:
            seen.add(question.key)
            yield dataclasses.replace(question, text=dress(question.text, rng))
