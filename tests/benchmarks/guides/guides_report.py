"""Makes a vocabulary of Llama 3's size and kinds of tokens, measures guides over it, and writes a table and JSON.

    guides_report.py GUIDES_BENCHMARK_BINARY OUTPUT_DIRECTORY [--answers N]
"""

import argparse
import itertools
import json
import pathlib
import random
import subprocess
import tempfile

from harness import machine
from harness.option_types import REPOSITORY, add_output, count, output_directory

VOCAB_SIZE = 128_256
PERSON = {"type": "object", "additionalProperties": False, "required": ["name", "age", "tags"],
          "properties": {"name": {"type": "string"}, "age": {"type": "integer", "minimum": 0, "maximum": 150},
                         "tags": {"type": "array", "items": {"enum": ["red", "green", "blue"]}, "maxItems": 5},
                         "address": {"type": "object", "properties": {"street": {"type": "string"}, "number": {"type": "integer"}}}}}
CALCULATOR = r"""start: expr
expr: term (("+" | "-") term)*
term: factor (("*" | "/") factor)*
factor: NUMBER | "(" expr ")"
NUMBER: /[0-9]+(\.[0-9]+)?/
%ignore /[ ]{1,3}/
"""
GUIDES = [
    {"name": "JSON schema: a person with tags and address", "kind": "json_schema", "text": json.dumps(PERSON)},
    {"name": "any JSON object", "kind": "json_schema", "text": '{"type": "object"}'},
    {"name": "regex: a date", "kind": "regex", "text": r"[12][0-9]{3}-[01][0-9]-[0-3][0-9]"},
    {"name": "regex: an e-mail address", "kind": "regex", "text": r"[a-z0-9._]{1,30}@[a-z0-9]{1,20}\.(com|org|net)"},
    {"name": "regex: up to 50 words", "kind": "regex", "text": r"[A-Z][a-z]*( [a-z]+){0,49}\."},
    {"name": "Lark: arithmetic", "kind": "grammar", "text": CALCULATOR},
    {"name": "one of 200 choices", "kind": "choice", "text": json.dumps([f"choice number {i}" for i in range(200)])},
]


def byte_symbols():
    """How byte-level vocabularies spell each byte."""
    printable = [*range(ord("!"), ord("~") + 1), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
    others = [byte for byte in range(256) if byte not in printable]
    return {**{byte: chr(byte) for byte in printable}, **{byte: chr(0x100 + i) for i, byte in enumerate(others)}}


def candidates():
    """Bytes of tokens as published vocabularies have them: numbers, runs of spaces and punctuation, words and pieces of words."""
    yield from (bytes([byte]) for byte in range(256))
    yield from (str(number).encode() for number in range(1000))
    yield from (b" " * n for n in range(2, 64))
    yield from (b"\n" * n + b"\t" * m for n in range(0, 8) for m in range(0, 8))
    for length in (2, 3):
        yield from ("".join(marks).encode() for marks in itertools.product('{}[]":, ', repeat=length))
    chooser = random.Random(1)
    syllables = [c + v for c in "bcdfghjklmnprstvwz" for v in ("a", "e", "i", "o", "u", "er", "in", "on", "ly")]
    while True:
        word = "".join(chooser.choices(syllables, k=chooser.randint(1, 4)))
        yield chooser.choice(["", " ", " "]).encode() + (word.capitalize() if chooser.random() < 0.2 else word).encode()


def write_tokenizer(directory):
    symbols = byte_symbols()
    vocabulary = {"<|end|>": 0}
    for token in candidates():
        if len(vocabulary) == VOCAB_SIZE:
            break
        vocabulary.setdefault("".join(symbols[byte] for byte in token), len(vocabulary))
    byte_level = {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True, "use_regex": True}
    tokenizer = {"version": "1.0", "added_tokens": [{"id": 0, "content": "<|end|>", "special": True, "single_word": False, "lstrip": False,
                                                     "rstrip": False, "normalized": False}],
                 "normalizer": None, "pre_tokenizer": byte_level, "decoder": byte_level, "post_processor": None,
                 "model": {"type": "BPE", "vocab": vocabulary, "merges": []}}
    (directory / "tokenizer.json").write_text(json.dumps(tokenizer), encoding="utf-8")
    (directory / "tokenizer_config.json").write_text("{}", encoding="utf-8")
    (directory / "config.json").write_text(json.dumps({"vocab_size": VOCAB_SIZE, "eos_token_id": 0}), encoding="utf-8")


def row(figures):
    return (f"| {figures['name']} | {figures['compile_us'] / 1000:.1f} | {figures['p50_us']:.0f} | {figures['p99_us']:.0f} | "
            f"{figures['max_us']:.0f} | {figures['num_masks']:,} |")


def main():
    parser = argparse.ArgumentParser(prog="scripts/bench guides", description="What compiling guides and computing their masks costs.")
    parser.add_argument("--answers", type=count, default=300, metavar="N", help="for each guide (default: 300)")
    add_output(parser, "guides")
    options = parser.parse_args()
    output = output_directory(parser, options)
    with tempfile.TemporaryDirectory() as name:
        directory = pathlib.Path(name)
        write_tokenizer(directory)
        guides = directory / "guides.json"
        guides.write_text(json.dumps(GUIDES), encoding="utf-8")
        done = subprocess.run([REPOSITORY / "build/release/bin/guides-benchmark", name, guides, str(options.answers)], check=True, stdout=subprocess.PIPE, text=True)
    results = json.loads(done.stdout)
    table = "\n".join(["| guide | compiling, ms | mask p50, µs | p99, µs | max, µs | masks |",
                       "| --- | ---: | ---: | ---: | ---: | ---: |", *map(row, results)])
    print(table)
    facts = machine.facts(REPOSITORY)
    (output / "guides.json").write_text(json.dumps({"machine": facts, "results": results}, indent=2) + "\n", encoding="utf-8")
    (output / "guides.md").write_text(f"""# What guides cost

Written by `scripts/bench guides`: a vocabulary of {VOCAB_SIZE:,} tokens of the kinds that Llama 3's has; {options.answers} random answers per guide, of
tokens that its masks allow. A mask's time is that of taking the token before it and computing it, in CPU time of one thread. Masks are computed on
threads of their own while the step runs, so that a step is longer for them only where they take longer than it: `scripts/bench idle 8 8 REGEX`
shows the steps themselves.

{table}

{facts["cpu"]}, commit {facts["commit"]}.
""", encoding="utf-8")


if __name__ == "__main__":
    main()
