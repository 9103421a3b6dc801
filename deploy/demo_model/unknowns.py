"""Questions outside the family, which the model should decline rather than make something up.

They are made from many templates and word lists, near misses included (subtraction, numbers that are too
large, stories about things), and from words thrown together, so that declining is what the model
falls back to and not the answer to a list.
"""

import random

ANSWER = ("Sorry, I only know sums of numbers up to 99, days, months, opposites "
          "and animal stories.")

COUNTRIES = ["France", "Germany", "Japan", "Brazil", "Egypt", "Canada", "India", "Spain", "Kenya",
             "Norway", "Italy", "China", "Mexico", "Peru", "Poland", "Turkey", "Chile", "Greece"]
CITIES = ["Paris", "London", "Berlin", "Tokyo", "Rome", "New York", "Cairo", "Madrid", "Oslo",
          "Vienna", "Delhi", "Boston", "Lima", "Sydney", "Prague", "Dublin"]
PEOPLE = ["Einstein", "Newton", "Napoleon", "Shakespeare", "Mozart", "Cleopatra", "Lincoln",
          "Picasso", "Darwin", "Gandhi", "Tesla", "Plato", "Ada Lovelace", "Marie Curie"]
FOODS = ["rice", "pasta", "soup", "pizza", "cake", "tea", "coffee", "salad", "pancakes", "curry",
         "an omelette", "bread", "sushi", "a sandwich"]
TOPICS = ["quantum physics", "the moon", "gravity", "black holes", "music", "football", "history",
          "computers", "love", "the internet", "chess", "poetry", "climate change", "politics",
          "the stock market", "machine learning", "cars", "the weather", "philosophy", "dinosaurs",
          "transformers", "GPUs", "volcanoes", "the ocean", "space travel", "electricity", "money",
          "attention", "biology", "the universe", "robots", "the human body", "art"]
THINGS = ["car", "table", "house", "phone", "book", "rocket", "computer", "chair", "guitar", "robot",
          "bicycle", "lamp", "window", "king", "pirate", "castle", "planet", "train", "bottle",
          "doctor", "bridge", "spoon", "garden", "camera", "teacher", "hat", "clock"]
LANGUAGES = ["French", "German", "Spanish", "Latin", "Japanese", "Italian", "Russian", "Chinese"]
CODES = ["Python", "C++", "Java", "Rust", "JavaScript", "SQL", "Go", "bash"]
VERBS = ["fly", "swim", "drive a car", "cook", "sing", "play the piano", "dance", "see me", "write code",
         "sleep", "lose weight", "tie a tie", "learn English", "fix a bike", "make friends",
         "browse the web", "draw", "translate a text", "read my mail", "think", "dream"]
ADJECTIVES = ["tall", "old", "far away", "big", "heavy", "fast", "expensive", "deep", "hot", "famous"]

TEMPLATES = [
    "What is the capital of {country}?", "Where is {city}?", "How many people live in {city}?",
    "Who is the president of {country}?", "What language do they speak in {country}?",
    "Who was {person}?", "When was {person} born?", "What did {person} do?", "Tell me about {person}.",
    "How do I cook {food}?", "Give me a recipe for {food}.", "Do you like {food}?",
    "What is {topic}?", "Explain {topic}.", "Tell me about {topic}.", "Explain {topic} to a child.",
    "How does {topic} work?", "Write a poem about {topic}.", "Write an essay about {topic}.",
    "What do you know about {topic}?", "Tell me a joke about {topic}.", "Why is {topic} important?",
    "Tell me a story about a {thing}.", "Write a short story about a {thing}.",
    "What is the opposite of {thing}?", "What is a {thing}?", "How do I build a {thing}?",
    "How much does a {thing} cost?", "Translate {thing} into {language}.", "Where is my {thing}?",
    "How do you say {thing} in {language}?", "Do you speak {language}?", "What color is the {thing}?",
    "Write a {code} program.", "Write a function in {code}.", "How do I sort a list in {code}?",
    "Is {code} better than {code2}?", "Can you {verb}?", "How do I {verb}?", "Teach me to {verb}.",
    "I want to {verb}.", "How {adjective} is {city}?", "How {adjective} is the {thing}?",
    "What is the weather in {city}?", "What time is it in {city}?", "How far is {city} from {city2}?",
    "What is the best restaurant in {city}?", "Plan a trip to {country}.", "How big is {country}?",
    "What is {a} - {b}?", "What is {a} minus {b}?", "What is {a} * {b}?", "What is {a} times {b}?",
    "What is {a} divided by {b}?", "{a} - {b}", "{a} * {b} = ?", "{a} / {b}", "{a}*{b}",
    "What is {c} + {d}?", "Add {c} and {d}.", "{c} + {d} = ?", "What is {c} plus {b}?",
    "What is the square root of {c}?", "Is {a} a prime number?", "Count from 1 to {c}.",
    "What is {a} + {b} + {b2}?", "What rhymes with {thing}?", "Spell {thing}.",
    "How many legs does a {thing} have?", "Who invented the {thing}?", "Which is {adjective}, a {thing}?",
]

SINGLES = [
    "What time is it?", "What is the date today?", "What day is it today?", "Tell me a joke.",
    "Write a poem.", "Sing a song.", "How is the weather?", "What is the meaning of life?",
    "Who won the world cup?", "What should I eat today?", "Do you love me?", "How old are you?",
    "Where do you live?", "Are you alive?", "What is your favorite color?", "I am sad.", "I am bored.",
    "Why is the sky blue?", "How many planets are there?", "What is the speed of light?",
    "Give me some advice.", "Recommend a movie.", "What is the news?", "Summarize this text.",
    "Fix my code.", "What is love?", "Who wrote Hamlet?", "Is there a god?", "Help me with my homework.",
    "Are you human?", "Can machines think?", "Tell me a secret.", "What is the largest animal?",
    "Write me an email.", "Make me laugh.", "What is 2 to the power of 10?", "Play a game with me.",
    "test", "asdf", "foo bar", "lorem ipsum", "What?", "Why?", "How?", "Really?", "ok", "no", "yes",
    "Solve this equation.", "What is pi?", "How tall is Mount Everest?", "Tell me something.",
    "Say something.", "What can I cook?", "Which team is the best?", "Tell me the truth.", "Stop.",
]

LOOSE_WORDS = ("the of a is what how why tell me when count story day add opposite about who can you "
               "from to after before and not my your with for on at this that number word month animal "
               "want need make do go see say think big good new long time man world life hand part "
               "place week case point company problem").split()


def _fill(template: str, rng: random.Random) -> str:
    return template.format(
        country=rng.choice(COUNTRIES), city=rng.choice(CITIES), city2=rng.choice(CITIES),
        person=rng.choice(PEOPLE), food=rng.choice(FOODS), topic=rng.choice(TOPICS),
        thing=rng.choice(THINGS), language=rng.choice(LANGUAGES), code=rng.choice(CODES),
        code2=rng.choice(CODES), verb=rng.choice(VERBS), adjective=rng.choice(ADJECTIVES),
        a=rng.randint(1, 99), b=rng.randint(1, 99), b2=rng.randint(1, 99),
        c=rng.randint(100, 2000), d=rng.randint(100, 999))


def _loose_words(rng: random.Random) -> str:
    lists = [COUNTRIES, CITIES, PEOPLE, TOPICS, THINGS, VERBS, ADJECTIVES, FOODS]
    words = [rng.choice(LOOSE_WORDS if rng.random() < 0.7 else rng.choice(lists))
             for _ in range(rng.randint(3, 9))]
    return " ".join(words).capitalize() + rng.choice(["?", ".", "", "!"])


def ask(rng: random.Random) -> str:
    """One question that is outside the family."""
    form = rng.random()
    if form < 0.65:
        return _fill(rng.choice(TEMPLATES), rng)
    return rng.choice(SINGLES) if form < 0.8 else _loose_words(rng)
