"""The prompts that Lockstep and transformers are given."""

import random

PROMPT_TOKENS = 512


def prompts(num, vocab_size, seed=1, length=PROMPT_TOKENS):
    ids = random.Random(seed)
    return [[ids.randrange(vocab_size) for _ in range(length)] for _ in range(num)]
