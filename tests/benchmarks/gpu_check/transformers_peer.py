"""transformers on the same GPU: seconds of forward passes, or logits in two dtypes. Prints JSON.

    transformers_peer.py sweep MODEL BATCH,…      {"seconds": {"1": 0.01, …}}
    transformers_peer.py logits MODEL DTYPE       {"prompts": […], "float32": […], "same_dtype": […]}
"""

import json
import sys
import time

import torch
from transformers import AutoModelForCausalLM

from gpu_check.checks import PROMPT_TOKENS, prompts


def load(directory, dtype):
    model = AutoModelForCausalLM.from_pretrained(directory, dtype=dtype, attn_implementation="sdpa").eval()
    return model.to("cuda" if torch.cuda.is_available() else "cpu")


def last_logits(model, ids):
    with torch.inference_mode():
        return model(torch.tensor(ids, device=model.device), logits_to_keep=1, use_cache=False).logits[:, -1].float()


def timed(model, ids):
    def once():
        began = time.perf_counter()
        last_logits(model, ids)
        if torch.cuda.is_available():
            torch.cuda.synchronize()
        return time.perf_counter() - began

    for _ in range(3):  # compiles at first
        once()
    return sorted(once() for _ in range(5))[2]


def sweep(directory, batches):
    model = load(directory, torch.bfloat16)
    vocab_size = model.config.vocab_size
    model.forward = torch.compile(model.forward)
    return {"seconds": {batch: timed(model, prompts(batch, vocab_size)) for batch in batches}}


def compare(directory, dtype):
    found = {"prompts": None}
    for name, kind in [("float32", torch.float32), ("same_dtype", getattr(torch, dtype))]:
        model = load(directory, kind)
        found["prompts"] = found["prompts"] or prompts(4, model.config.vocab_size, seed=2, length=PROMPT_TOKENS // 4)
        found[name] = last_logits(model, found["prompts"]).tolist()
        del model
        if torch.cuda.is_available():
            torch.cuda.empty_cache()
    return found


if __name__ == "__main__":
    kind, model_directory, detail = sys.argv[1:]
    if kind == "sweep":
        print(json.dumps(sweep(model_directory, [int(batch) for batch in detail.split(",")])))
    else:
        print(json.dumps(compare(model_directory, detail)))
