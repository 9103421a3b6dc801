"""Requests of one measurement: the same prompts, lengths and times for every system."""

import json
import random


def _around(mean, source):
    return source.randint(max(1, mean - mean // 2), mean + mean // 2)


def make(options, vocab_size, num_requests, seed, rate=None):
    """Requests in order of time: dictionaries with timestamp, token_ids and output_length. Without a rate all are due at once. The prompts
    are random and new for each seed, so that no cache can answer."""
    source = random.Random(seed)
    requests, at = [], 0.0
    for _ in range(num_requests):
        length = _around(options.input_len, source)
        requests.append({
            "timestamp": at,
            "token_ids": [source.randrange(vocab_size) for _ in range(length)],
            "output_length": _around(options.output_len, source),
        })  # fmt: skip
        if rate:
            at += source.expovariate(rate)
    return requests


def write(requests, path):
    """As a trace of `lockstep bench serve`."""
    with open(path, "w", encoding="utf-8") as file:
        for request in requests:
            file.write(json.dumps(request) + "\n")


def num_output_tokens(requests):
    return sum(request["output_length"] for request in requests)
