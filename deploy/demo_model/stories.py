"""Short stories about two animals: a small grammar that writes them, and one that checks them.

A story has seven sentences. Each has some alternatives, and what is said later must agree with what
was said earlier: the names, the animals, and the rescue that fits the trouble. The checker parses
a reply with the same grammar and follows these bindings, so a story that drifts off is found.
"""

import dataclasses
import random
import re
from typing import Callable

# animal: (name, kind of hero, home, food, trouble when it is the one in need)
ANIMALS = {
    "fox": ("Ruby", "clever", "in a green forest", "berries", "mud"),
    "frog": ("Felix", "cheerful", "beside a quiet pond", "flies", "well"),
    "cat": ("Molly", "curious", "in a little red house", "milk", "tree"),
    "dog": ("Max", "loyal", "on a small farm", "bones", "lost"),
    "mouse": ("Mimi", "tiny", "under an old barn", "cheese", "trap"),
    "bear": ("Bruno", "gentle", "in a deep cave", "honey", "trap"),
    "rabbit": ("Rosie", "quick", "in a sunny meadow", "carrots", "hole"),
    "owl": ("Oscar", "wise", "in a tall oak tree", "seeds", "wing"),
    "lion": ("Leo", "brave", "on a wide plain", "fresh water", "thorn"),
    "elephant": ("Ella", "kind", "near a big river", "fruit", "mud"),
    "monkey": ("Momo", "funny", "in a warm jungle", "bananas", "net"),
    "horse": ("Hugo", "strong", "on a small farm", "apples", "thorn"),
    "cow": ("Clara", "calm", "on a green hill", "grass", "mud"),
    "pig": ("Poppy", "cheerful", "on a small farm", "corn", "hole"),
    "sheep": ("Sally", "shy", "on a green hill", "clover", "lost"),
    "duck": ("Daisy", "happy", "beside a quiet pond", "bread", "net"),
    "goose": ("Greta", "proud", "beside a blue lake", "grain", "wing"),
    "hen": ("Hetty", "busy", "on a small farm", "corn", "lost"),
    "wolf": ("Willow", "lonely", "in a dark forest", "warm soup", "trap"),
    "tiger": ("Tara", "bold", "in a warm jungle", "fresh water", "hole"),
    "penguin": ("Pip", "playful", "on a snowy island", "fish", "ice"),
    "seal": ("Sam", "lazy", "on a rocky beach", "fish", "net"),
    "whale": ("Wanda", "gentle", "in the blue sea", "plankton", "net"),
    "turtle": ("Toby", "patient", "on a sandy beach", "leaves", "back"),
    "crab": ("Carl", "stubborn", "on a sandy beach", "shells", "back"),
    "snail": ("Sid", "slow", "in a rose garden", "lettuce", "back"),
    "bee": ("Bella", "busy", "in a rose garden", "nectar", "web"),
    "ant": ("Andy", "busy", "under a big stone", "crumbs", "web"),
    "spider": ("Sofia", "patient", "in an old attic", "thread", "well"),
    "butterfly": ("Bonnie", "pretty", "in a rose garden", "nectar", "web"),
    "squirrel": ("Skip", "quick", "in a tall oak tree", "nuts", "ice"),
    "hedgehog": ("Hazel", "shy", "under a thick hedge", "mushrooms", "hole"),
    "deer": ("Dora", "gentle", "in a dark forest", "leaves", "ice"),
    "goat": ("Gus", "stubborn", "on a high mountain", "grass", "well"),
    "donkey": ("Dusty", "patient", "near a windmill", "hay", "lost"),
    "camel": ("Cleo", "calm", "in a hot desert", "dates", "thorn"),
    "parrot": ("Polly", "noisy", "in a warm jungle", "mangos", "net"),
    "eagle": ("Edgar", "proud", "on a high mountain", "a shiny feather", "wing"),
    "kitten": ("Kiki", "playful", "in a little red house", "milk", "tree"),
    "puppy": ("Paul", "happy", "near a windmill", "biscuits", "tree"),
}
FRIEND_OF = dict(zip(ANIMALS, list(ANIMALS)[7:] + list(ANIMALS)[:7]))

# trouble: (what had happened to the friend, how the hero solved it)
TROUBLES = {
    "mud": ("was stuck in deep mud", "found a long rope and pulled until the mud let go"),
    "well": ("had fallen into a well", "let down a bucket and lifted the {friend} out"),
    "tree": ("was afraid to climb down from a tree", "fetched a ladder and held it tight"),
    "lost": ("had lost the way home", "climbed a hill, saw the path and led the {friend} home"),
    "trap": ("was caught in a trap", "pushed a strong stick into the trap and opened it"),
    "hole": ("had fallen into a hole", "rolled stones into the hole to make a stair"),
    "wing": ("had a broken wing", "tied the wing up with a soft ribbon"),
    "thorn": ("had a thorn in one foot", "pulled the thorn out very slowly"),
    "net": ("was tangled in a net", "bit through the net, one string after another"),
    "ice": ("was stuck on thin ice", "lay down flat and reached out with a branch"),
    "back": ("was lying helpless upside down", "gave the {friend} a good push and turned it over"),
    "web": ("was trapped in a sticky web", "cut the web with a sharp leaf"),
}

# The seven sentences. Only the last has no alternative.
OPENINGS = ["Once upon a time, a {kind} {hero} called {name} lived {home}.",
            "Long ago, a {kind} {hero} called {name} lived {home}."]
MORNINGS = ["One sunny morning, {name} went out to look for {food}.",
            "One cold morning, {name} woke up hungry and looked for {food}."]
MEETINGS = ["On the way, {name} met a little {friend} that {trouble}.",
            "Suddenly, {name} saw a young {friend} that {trouble}."]
CRIES = ['"Please help me!" cried the {friend}.', '"Can you help me?" asked the {friend}.']
RESCUES = ["{name} {rescue}."]
THANKS = ["The {friend} was so glad that it danced and sang.",
          "The {friend} smiled and shared some {food} with {name}."]
ENDINGS = ["From that day on, the {hero} and the {friend} were best friends. The end."]
SENTENCES = [OPENINGS, MORNINGS, MEETINGS, CRIES, RESCUES, THANKS, ENDINGS]

ONE_WORDINGS = ["Tell me a short story about {hero}.", "Tell me a story about {hero}.",
                "Write a short story about {hero}.", "Write a story about {hero}.",
                "Can you tell me a story about {hero}?", "I want to hear a story about {hero}.",
                "A short story about {hero}, please.", "Make up a story about {hero}."]
FREE_WORDINGS = ["Tell me a story.", "Tell me a short story.", "Write a story.",
                 "Can you tell me a story?", "I want to hear a story."]


@dataclasses.dataclass(frozen=True)
class StoryQuestion:
    """A question for a story; `key` decides whether it is held out of training."""

    key: str
    text: str
    answer: str
    check: Callable[[str], bool]


def with_article(noun: str) -> str:
    return ("an " if noun[0] in "aeiou" else "a ") + noun


def _variant(alternatives: list[str], hero: str) -> str:
    """One alternative per animal, so that the likeliest story has no near ties."""
    return alternatives[list(ANIMALS).index(hero) % len(alternatives)]


def tell(hero: str) -> str:
    """The story of an animal."""
    name, kind, home, food, _ = ANIMALS[hero]
    friend = FRIEND_OF[hero]
    trouble, rescue = TROUBLES[ANIMALS[friend][4]]
    return " ".join(_variant(alternatives, hero) for alternatives in SENTENCES).format(
        hero=hero, friend=friend, name=name, kind=kind, home=home, food=food, trouble=trouble,
        rescue=rescue.format(friend=friend))


def _sentence_pattern(alternatives: list[str], slots: dict[str, str]) -> str:
    patterns = []
    for alternative in alternatives:
        pattern = re.escape(alternative)
        for slot, choice in slots.items():
            pattern = pattern.replace(re.escape("{" + slot + "}"), choice)
        patterns.append(pattern)
    return "(?:" + "|".join(patterns) + ")"


def is_story(reply: str, hero: str | None) -> bool:
    """Whether `reply` is a whole story of the grammar, about the animal that was asked for, if any."""
    opening = re.match(r"(?:Once upon a time|Long ago), a \w+ (\w+) called (\w+) lived ", reply)
    rescued = re.search(r" (?:met a little|saw a young) (\w+) that ", reply)
    if not opening or not rescued:
        return False
    told = (opening[1], rescued[1], opening[2])
    if hero not in (None, told[0]):
        return False
    if told[0] not in ANIMALS or told[1] not in ANIMALS or told[0] == told[1]:
        return False
    _, kind, home, food, _ = ANIMALS[told[0]]
    return any(_matches(reply, told, kind, home, food, happening, rescue)
               for happening, rescue in TROUBLES.values())


def _matches(reply: str, told: tuple[str, str, str], kind: str, home: str, food: str,
             happening: str, rescue: str) -> bool:
    hero, friend, name = told
    slots = {"kind": kind, "hero": hero, "name": name, "home": home, "food": food,
             "friend": friend, "trouble": happening, "rescue": rescue.format(friend=friend)}
    pattern = " ".join(_sentence_pattern(alternatives, slots) for alternatives in SENTENCES)
    return re.fullmatch(pattern, reply.strip()) is not None


def ask(rng: random.Random) -> StoryQuestion:
    """A question for a story about one animal, or about any."""
    hero, free = rng.choice(list(ANIMALS)), rng.random() < 0.05
    wording = rng.choice(FREE_WORDINGS if free else ONE_WORDINGS)
    key = f"story {wording}" if free else f"story {wording} {hero}"
    asked = None if free else hero
    return StoryQuestion(key, wording.format(hero=with_article(hero)), tell(hero),
                         lambda reply: is_story(reply, asked))
