"""The checkpoint that is served."""

import json


def read_config(parser, model):
    """config.json of the directory that --model names; ends the program with the parser's error where it is none."""
    try:
        config = json.loads((model / "config.json").read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        parser.error(f"argument --model: {model} is no Hugging Face directory: {error}")
    if (config.get("dtype") or config.get("torch_dtype")) != "bfloat16":
        parser.error(f"argument --model: {model} is not stored in bfloat16; the systems would convert it, each in its own way")
    return config


def head_dim(config):
    return config.get("head_dim") or config["hidden_size"] // config["num_attention_heads"]


def num_kv_heads(config):
    return config.get("num_key_value_heads", config["num_attention_heads"])


def kv_cache_bytes_per_token(config, num_ranks=1):
    """Of one rank, in bfloat16."""
    return 2 * config["num_hidden_layers"] * max(1, num_kv_heads(config) // num_ranks) * head_dim(config) * 2


def read_into_page_cache(directory):
    for path in sorted(directory.glob("*.safetensors")):
        with open(path, "rb") as file:
            while file.read(1 << 24):
                pass
