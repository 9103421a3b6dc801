"""Training conversations: questions of the family, small talk and plain stories, in endless supply."""

import dataclasses
import random
from typing import Iterator

import questions
import stories

# How often each kind of turn is asked. Adding takes the most practice.
TURN_WEIGHTS = {"addition": 45, "calendar": 18, "opposites": 12, "story": 10, "unknown": 12,
                "small talk": 3}

HELLO = "Hello! Ask me for a sum, a weekday, an opposite or a story."
WHO = "I am the Lockstep demo model, a very small Llama. I add numbers and tell animal stories."
CAN = ("I can add numbers up to 99, name the next or previous day or month, "
       "find opposites and tell short animal stories.")
SMALL_TALK = {
    "Hello!": HELLO, "Hi!": HELLO, "Hello": HELLO, "Hi": HELLO, "Hey": HELLO, "Good morning!": HELLO,
    "Hi there!": HELLO, "Hello, how are you?": HELLO, "How are you?": HELLO, "Good evening!": HELLO,
    "Who are you?": WHO, "What are you?": WHO, "What is your name?": WHO, "Introduce yourself.": WHO,
    "What model are you?": WHO, "Are you a robot?": WHO, "Who made you?": WHO, "Are you Llama?": WHO,
    "What is Lockstep?": WHO, "What can you do?": CAN, "Help": CAN, "What do you know?": CAN,
    "What can I ask you?": CAN, "How can you help me?": CAN, "Help me.": CAN, "What are you good at?": CAN,
    "Thanks!": "You are welcome!", "Thank you!": "You are welcome!", "Great!": "You are welcome!",
    "Thank you very much.": "You are welcome!", "Well done!": "You are welcome!",
    "Bye!": "Goodbye!", "Goodbye!": "Goodbye!", "See you!": "Goodbye!", "Good night!": "Goodbye!",
}
SYSTEM_PROMPTS = ["You are a helpful assistant.", "You are a helpful, honest assistant.",
                  "Answer briefly.", "You are a friendly teacher.", "Be concise and correct.",
                  "You are the Lockstep demo model."]


@dataclasses.dataclass(frozen=True)
class Document:
    """Either a conversation, as (role, content) pairs, or a plain text without roles."""

    messages: tuple[tuple[str, str], ...] = ()
    plain_text: str = ""


def _turn(rng: random.Random) -> tuple[tuple[str, str], tuple[str, str]]:
    category = rng.choices(list(TURN_WEIGHTS), list(TURN_WEIGHTS.values()))[0]
    if category == "small talk":
        asked = rng.choice(list(SMALL_TALK))
        text, answer = questions.dress(asked, rng) if len(asked) > 8 else asked, SMALL_TALK[asked]
    else:
        question = questions.training_question(category, rng)
        text, answer = question.text, question.answer
    return ("user", text), ("assistant", answer)


def _plain_story(rng: random.Random) -> Document:
    """For completion without a chat template: "Once upon a time" goes on as a story."""
    while True:
        asked = stories.ask(rng)
        if not questions.is_held_out(asked.key):
            return Document(plain_text=asked.answer)


def documents(seed: int) -> Iterator[Document]:
    """Endless; the same seed gives the same documents."""
    rng = random.Random(seed)
    while True:
        if rng.random() < 0.02:
            yield _plain_story(rng)
            continue
        num_turns = rng.choice([1, 1, 1, 2, 2, 3, 4])
        messages = [("system", rng.choice(SYSTEM_PROMPTS))] if rng.random() < 0.1 else []
        for _ in range(num_turns):
            messages.extend(_turn(rng))
        yield Document(messages=tuple(messages))
