"""Writes reference/: what transformers' AutoTokenizer gives for small checkpoints of every kind, and what it renders for
chat templates. The C++ tests (tests/parity/text) compare with these files, so they need no Python.

    python tests/parity/text/dump_reference.py        (transformers 5.23, tokenizers 0.23, jinja2 3.1)
"""

import datetime
import json
import random
import shutil
import tempfile
from pathlib import Path

import transformers
from transformers import AutoTokenizer
from transformers.utils import chat_template_utils

import chat_cases
import tokenizers_for_test
from chat_templates import TEMPLATES

HERE = Path(__file__).parent
REFERENCE = HERE / "reference"
LLAMA3_NAMES = {"bos_token": "<|begin_of_text|>", "eos_token": "<|eot_id|>"}
LLAMA2_NAMES = {"bos_token": "<s>", "eos_token": "</s>", "unk_token": "<unk>"}


def added(content, special=True, **flags):
    base = {"content": content, "lstrip": False, "normalized": False, "rstrip": False, "single_word": False}
    return {**base, "special": special, **flags}


LLAMA2_DECODER = {"0": added("<unk>"), "1": added("<s>"), "2": added("</s>")}

# name: (tokenizer, files beside tokenizer.json)
CHECKPOINTS = {
    "llama3": ("llama3", {"tokenizer_config.json": {"tokenizer_class": "PreTrainedTokenizerFast", **LLAMA3_NAMES}}),
    "llama3_declared_llama": (
        "llama3",
        {"tokenizer_config.json": {"tokenizer_class": "LlamaTokenizerFast", "add_bos_token": False, **LLAMA3_NAMES}},
    ),
    "llama3_without_config": ("llama3", {}),
    "llama2": (
        "llama2",
        {
            "tokenizer_config.json": {
                "tokenizer_class": "LlamaTokenizer",
                "legacy": False,
                "add_bos_token": True,
                "add_eos_token": False,
                "added_tokens_decoder": LLAMA2_DECODER,
                **LLAMA2_NAMES,
            }
        },
    ),
    "llama2_legacy": (
        "llama2",
        {
            "tokenizer_config.json": {
                "tokenizer_class": "LlamaTokenizerFast",
                "legacy": True,
                "bos_token": {"__type": "AddedToken", **{k: v for k, v in added("<s>").items() if k != "special"}},
                "eos_token": {"__type": "AddedToken", **{k: v for k, v in added("</s>").items() if k != "special"}},
            }
        },
    ),
    "llama2_without_prefix_space": (
        "llama2",
        {"tokenizer_config.json": {"tokenizer_class": "LlamaTokenizerFast", "add_prefix_space": False, **LLAMA2_NAMES}},
    ),
    "llama2_as_stored": (
        "llama2",
        {
            "tokenizer_config.json": {"tokenizer_class": "PreTrainedTokenizerFast", "add_bos_token": False},
            "special_tokens_map.json": {
                "bos_token": {k: v for k, v in added("<s>").items() if k != "special"},
                "eos_token": "</s>",
                "pad_token": "<pad>",
            },
        },
    ),
    "codellama": ("llama2", {"tokenizer_config.json": {"tokenizer_class": "CodeLlamaTokenizer", **LLAMA2_NAMES}}),
    "metaspace": ("metaspace", {"tokenizer_config.json": {"tokenizer_class": "PreTrainedTokenizerFast", **LLAMA2_NAMES}}),
    "unigram": (
        "unigram",
        {
            "tokenizer_config.json": {
                "tokenizer_class": "PreTrainedTokenizerFast",
                "clean_up_tokenization_spaces": True,
                **LLAMA2_NAMES,
            }
        },
    ),
    "smollm": (
        "smollm",
        {
            "tokenizer_config.json": {
                "tokenizer_class": "GPT2Tokenizer",
                "add_prefix_space": False,
                "clean_up_tokenization_spaces": True,
                "additional_special_tokens": ["<|im_start|>", "<|im_end|>"],
                "bos_token": "<|im_start|>",
                "eos_token": "<|im_end|>",
                "pad_token": "<|im_end|>",
            }
        },
    ),
    "qwen2": (
        "smollm",
        {"tokenizer_config.json": {"tokenizer_class": "Qwen2Tokenizer", "bos_token": None, "eos_token": "<|im_end|>"}},
    ),
    "gpt_neox": (
        "llama3",
        {"tokenizer_config.json": {"tokenizer_class": "GPTNeoXTokenizerFast", "add_prefix_space": True, **LLAMA3_NAMES}},
    ),
    "padded": ("padded", {"tokenizer_config.json": {"tokenizer_class": "PreTrainedTokenizerFast", **LLAMA3_NAMES}}),
    "padded_gpt2": ("padded", {"tokenizer_config.json": {"tokenizer_class": "GPT2Tokenizer", **LLAMA3_NAMES}}),
    "padded_without_pad_token": (
        "padded",
        {"tokenizer_config.json": {"tokenizer_class": "PreTrainedTokenizerFast", "pad_token": None, **LLAMA3_NAMES}},
    ),
    "additional_tokens_with_flags": (
        "llama2",
        {
            "tokenizer_config.json": {
                "tokenizer_class": "PreTrainedTokenizerFast",
                "additional_special_tokens": [
                    "<|extra|>",
                    {"__type": "AddedToken", "content": "<image>", "lstrip": True},
                    {"__type": "AddedToken", "content": "<left>", "special": True},
                ],
                **LLAMA2_NAMES,
            }
        },
    ),
    "added_tokens": (
        "added_tokens",
        {
            "tokenizer_config.json": {
                "tokenizer_class": "PreTrainedTokenizerFast",
                **LLAMA3_NAMES,
                "image_token": "<image>",
                "extra_special_tokens": ["<|extra|>", "<left>"],
            }
        },
    ),
    "added_tokens_decoder": (
        "llama3",
        {
            "tokenizer_config.json": {
                "tokenizer_class": "PreTrainedTokenizerFast",
                **LLAMA3_NAMES,
                "added_tokens_decoder": {
                    "900": added("<late>", special=False, lstrip=True),
                    "480": added("<|begin_of_text|>"),
                    "484": added("<|eot_id|>", rstrip=True),
                    "700": added("<early>", special=True),
                },
            }
        },
    ),
}

TEXTS = [
    "",
    "Hello",
    " Hello world",
    "  two spaces  and   three ",
    "Once upon a time, there was a lighthouse.",
    "line one\nline two\n\nline four\r\n\ttabbed\n",
    "\n",
    "   ",
    " ",
    "I'm sure THEY'RE here; it'S 12345 o'clock, don't!",
    "naïve café — “quoted” … №5 ½ ﬁne Å Å",
    "e\u0301te\u0301 a\u030a combining, e\u0301 again",
    "今天天气很好。東京タワー 한국어",
    "שלום עולם مرحبا بالعالم",
    "नमस्ते สวัสดี ქართული አማርኛ",
    "🙂 👩‍👩‍👧‍👦 🏳️‍🌈 🇩🇪 👍🏽",
    "control \x00\x01\x07\x1b[0m\x7f\x85\u200b\u2028\ufeff end",
    "<s>user text with </s> and <unk> tokens</s>",
    "<|begin_of_text|><|start_header_id|>user<|end_header_id|>\n\nHi<|eot_id|>",
    "<|im_start|>user\nHi <|im_end|>\n<|endoftext|>",
    "x <left> y <right>  z  <both>  word words sword two words été <|extra|> <image> <late> <early>.",
    "▁metaspace▁in▁text ▁ <0x41> <0x0A>",
    "def f(x):\n    return  x**2   # 1000000 items\n",
    "a" * 300,
    "The price is $12.50 . Is it ? Yes , it is n't ! We 've , they 're , I 'm , it 's ' x ' ok",
    "ſ'ſ K Kelvin İstanbul ǅ ß ẞ",
    "\ue000 private \U000e0001 tag \U0010ffff last",
]


def encoder(tokenizer):
    return lambda text, special: tokenizer(text, add_special_tokens=special)["input_ids"]


def id_sequences(tokenizer, rng):
    """Answers: encoded texts, and ids at random, which give broken characters at every border."""
    size = max(tokenizer.get_vocab().values()) + 1
    sequences = [encoder(tokenizer)(text, False) for text in TEXTS if len(text) < 100]
    for length in [1, 1, 1, 1, 2, 2, 3, 5, 8, 13, 40, 100]:
        sequences.append([rng.randrange(size) for _ in range(length)])
    spelt = [i for i in range(size) if len(tokenizer.convert_ids_to_tokens(i) or "") in (1, 6)]
    for length in [2, 3, 4, 6, 9, 20, 60]:
        sequences.append([rng.choice(spelt) for _ in range(length)])
    return sequences


def dump_checkpoint(name, base, files, stored):
    with tempfile.TemporaryDirectory() as folder:
        directory = Path(folder)
        shutil.copy(stored[base], directory / "tokenizer.json")
        for file, content in {"config.json": {"model_type": "llama"}, **files}.items():
            (directory / file).write_text(json.dumps(content, ensure_ascii=False))
        tokenizer = AutoTokenizer.from_pretrained(directory)
    encode = encoder(tokenizer)
    rng = random.Random(name)
    return {
        "tokenizer": base + ".json",
        "files": {"config.json": {"model_type": "llama"}, **files},
        "special_tokens": {key: tokenizer.convert_tokens_to_ids(value) for key, value in tokenizer.special_tokens_map.items()},
        "special_ids": sorted(i for i, t in tokenizer.added_tokens_decoder.items() if t.special),
        "vocab_size": max(tokenizer.get_vocab().values()) + 1,
        "encode": [{"text": text, "ids": encode(text, True), "plain": encode(text, False)} for text in TEXTS],
        "decode": [
            {"ids": ids, "text": tokenizer.decode(ids), "skipped": tokenizer.decode(ids, skip_special_tokens=True)}
            for ids in id_sequences(tokenizer, rng)
        ],
    }


class FixedClock(datetime.datetime):
    @classmethod
    def now(cls, tz=None):
        return cls.fromtimestamp(chat_cases.NOW, tz or datetime.timezone.utc)


def render(template, case):
    kwargs = dict(chat_cases.SPECIAL, **case["variables"])
    tools, documents = kwargs.pop("tools", None), kwargs.pop("documents", None)
    try:
        prompts, _ = chat_template_utils.render_jinja_template(
            [case["messages"]],
            tools=tools,
            documents=documents,
            chat_template=template,
            add_generation_prompt=case["add_generation_prompt"],
            **kwargs,
        )
        return {"prompt": prompts[0]}
    except Exception as error:  # The template's refusal is a result, too.
        return {"error": str(error), "raised": "raise_exception" in template}


def write(path, value):
    path.write_text(json.dumps(value, ensure_ascii=False, separators=(",", ":")) + "\n", encoding="utf-8")


def main():
    REFERENCE.mkdir(exist_ok=True)
    stored = {}
    for name, make in tokenizers_for_test.ALL.items():
        stored[name] = REFERENCE / f"{name}.json"
        # Unigram training does not give the same vocabulary twice: what is there stays. Remove a file to train anew.
        if not stored[name].exists():
            stored[name].write_text(make().to_str(pretty=False) + "\n", encoding="utf-8")
    for name, (base, files) in CHECKPOINTS.items():
        write(REFERENCE / f"{name}.case.json", {"versions": transformers.__version__, **dump_checkpoint(name, base, files, stored)})
    chat_template_utils.datetime = FixedClock
    for name, template in TEMPLATES.items():
        cases = [{**case, **render(template, case)} for case in chat_cases.cases_for(name)]
        write(REFERENCE / f"{name}.chat.json", {"now": chat_cases.NOW, "template": template, "cases": cases})
    for path in sorted(REFERENCE.iterdir()):
        print(f"{path.stat().st_size:8d} {path.name}")


if __name__ == "__main__":
    main()
