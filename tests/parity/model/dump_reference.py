"""Dumps what transformers computes for every parity case: reference/cases.json and reference/<case>.f32.

Usage: dump_reference.py [--only NAME ...]        (README.md beside this file says what is in the output)
"""

import argparse
import json
import pathlib
import re
import shutil
import tempfile

import numpy as np
import torch
import transformers
from transformers import AutoModelForCausalLM

from cases import all_cases
from random_checkpoint import llama_tensors, random_ids, random_values, to_storage, write_checkpoint

REFERENCE = pathlib.Path(__file__).parent / "reference"
NUM_GREEDY = 24
MIN_GREEDY_MARGIN = 5e-3  # logits differ by up to 1e-4: a narrower choice could go either way
MAX_OWN_SPREAD = 3e-5  # between transformers' two float32 attention implementations


def load(directory, dtype, attention="sdpa"):
    model = AutoModelForCausalLM.from_pretrained(directory, dtype=dtype, attn_implementation=attention)
    model.generation_config.eos_token_id = None  # the length is fixed
    model.generation_config.pad_token_id = 0
    return model.eval()


def logits_of(directory, ids, dtype, attention="sdpa"):
    """[num_tokens, vocab_size] float32. A fresh model every time: dynamic RoPE remembers earlier prompts."""
    with torch.no_grad():
        return load(directory, dtype, attention)(input_ids=torch.tensor([ids])).logits[0].float().numpy()


def rotary_of(directory, ids=None):
    """inv_freq [head_dim / 2] and the factor on cos and sin, as loaded or after a forward of the prompt."""
    model = load(directory, torch.float32)
    if ids:
        with torch.no_grad():
            model(input_ids=torch.tensor([ids]))
    rotary = model.model.rotary_emb
    return {"inv_freq": rotary.inv_freq.tolist(), "attention_scaling": rotary.attention_scaling}


def margin_of(logits):
    top = np.partition(logits, -2)[-2:]
    return float(top[1] - top[0])


def greedy_with_cache(directory, ids):
    output = load(directory, torch.float32).generate(
        torch.tensor([ids]), attention_mask=torch.ones(1, len(ids), dtype=torch.long), max_new_tokens=NUM_GREEDY,
        do_sample=False, output_logits=True, return_dict_in_generate=True)
    tokens = output.sequences[0, len(ids):].tolist()
    return tokens, min(margin_of(step[0].numpy()) for step in output.logits)


def greedy_without_cache(directory, ids):
    tokens, margin = list(ids), float("inf")
    while len(tokens) < len(ids) + NUM_GREEDY:
        last = logits_of(directory, tokens, torch.float32)[-1]
        margin = min(margin, margin_of(last))
        tokens.append(int(last.argmax()))
    return tokens[len(ids):], margin


def dump_prompt(directory, entry, length, attempt, is_dynamic):
    """The prompt's reference values, or None where a greedy choice is too close to call."""
    name = f"prompt/{length}/{attempt}"
    ids = random_ids(name, entry["seed"], length, entry["config"]["vocab_size"])
    greedy, margin = greedy_with_cache(directory, ids)
    prompt = {"input_ids": ids, "greedy_ids": greedy, "greedy_margin": margin}
    if is_dynamic:
        prompt["greedy_ids_uncached"], uncached_margin = greedy_without_cache(directory, ids)
        prompt["inv_freq"] = rotary_of(directory, ids)["inv_freq"]
        margin = min(margin, uncached_margin)
    if margin < MIN_GREEDY_MARGIN:
        return None

    logits = logits_of(directory, ids, torch.float32)
    spread = float(np.abs(logits - logits_of(directory, ids, torch.float32, "eager")).max())
    assert spread < MAX_OWN_SPREAD, f"{entry['name']}: sdpa and eager differ by {spread}"
    error = np.abs(logits_of(directory, ids, torch.bfloat16) - logits)
    prompt["bfloat16_max_abs_error"] = float(error.max())
    prompt["bfloat16_mean_abs_error"] = float(error.mean())
    return prompt, logits, spread


def dump_case(entry):
    ropes = [str(entry["config"].get(key)) for key in ("rope_scaling", "rope_parameters")]
    is_dynamic = any(kind in rope for kind in ("dynamic", "longrope") for rope in ropes)
    prompts, logits, spread = [], [], 0.0
    with tempfile.TemporaryDirectory() as directory:
        write_checkpoint(directory, entry["config"], entry["seed"], entry["storage"], entry["tied_head"])
        rotary = rotary_of(directory)
        for length in entry["prompt_lengths"]:
            found = (dump_prompt(directory, entry, length, attempt, is_dynamic) for attempt in range(100))
            prompt, prompt_logits, prompt_spread = next(filter(None, found))
            prompts.append(prompt)
            logits.append(prompt_logits)
            spread = max(spread, prompt_spread)
    np.concatenate(logits).astype("<f4").tofile(REFERENCE / f"{entry['name']}.f32")
    distinct = np.mean([len(set(prompt["greedy_ids"])) for prompt in prompts])
    print(f"{entry['name']:44} spread {spread:.1e}  bfloat16 max {max(p['bfloat16_max_abs_error'] for p in prompts):.3f}"
          f"  logits std {np.concatenate(logits).std():.2f}  distinct greedy tokens {distinct:.0f}/{NUM_GREEDY}", flush=True)
    fields = ("name", "comment", "storage", "seed", "num_shards", "config")
    stored = {"tied_head": entry["tied_head"]} if entry["tied_head"] != "none" else {}
    return {**{field: entry[field] for field in fields}, **stored, **rotary, "prompts": prompts}


def tensor_checksum(tensor, seed, storage):
    """sum of bits[i] * (2 i + 1) modulo 2**64 over the stored bit patterns: sees every bit and every position."""
    bits = to_storage(random_values(tensor, seed), storage).astype(np.uint64).reshape(-1)
    weights = np.arange(bits.size, dtype=np.uint64) * np.uint64(2) + np.uint64(1)
    with np.errstate(over="ignore"):
        return int((bits * weights).sum(dtype=np.uint64))


def dump_known_values():
    """A few values of the generator, for the unit test of its C++ twin."""
    config = {"hidden_size": 48, "intermediate_size": 80, "num_hidden_layers": 1, "num_attention_heads": 4,
              "num_key_value_heads": 2, "vocab_size": 67, "attention_bias": True, "mlp_bias": True}
    tensors = []
    for tensor in llama_tensors(config):
        values = random_values(tensor, 42).reshape(-1)
        tensors.append({
            "name": tensor.name,
            "shape": list(tensor.shape),
            "first_bits": [int(x) for x in values[:4].view(np.uint32)],
            "checksums": {s: tensor_checksum(tensor, 42, s) for s in ("float32", "float16", "bfloat16")},
        })
    return {"config": config, "seed": 42, "tensors": tensors}


def write_json(path, content):
    """A list of numbers or strings to a line: short enough to read, long enough to diff."""
    text = json.dumps(content, indent=1)
    flat_list = re.compile(r"\[\s*([^\[\]{}]*?)\s*\]")
    text = flat_list.sub(lambda match: "[" + re.sub(r"\s*\n\s*", " ", match.group(1)) + "]", text)
    path.write_text(text + "\n")


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", nargs="+", metavar="NAME", help="dump these cases and leave the others as they are")
    args = parser.parse_args()
    transformers.logging.set_verbosity_error()
    transformers.logging.disable_progress_bar()

    index = REFERENCE / "cases.json"
    kept = {}
    if args.only:
        kept = {entry["name"]: entry for entry in json.loads(index.read_text())["cases"] if entry["name"] not in args.only}
    elif REFERENCE.exists():
        shutil.rmtree(REFERENCE)
    REFERENCE.mkdir(exist_ok=True)
    entries = [kept.get(entry["name"]) or dump_case(entry) for entry in all_cases()]
    versions = {"transformers": transformers.__version__, "torch": torch.__version__}
    write_json(index, {**versions, "cases": entries})
    write_json(REFERENCE / "generator.json", dump_known_values())


if __name__ == "__main__":
    main()
