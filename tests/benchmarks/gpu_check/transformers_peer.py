"""transformers on the same GPU: seconds of forward passes, and logits in two dtypes. Prints JSON.

    transformers_peer.py MODEL DTYPE BATCH,…
        {"seconds": {"1": 0.01, …}, "prompts": […], "same_dtype": […], "float32": […]}

Each layer is compiled by itself (torch.compile's regional compilation): the same kernels as of the whole model, in a tenth of the time.
"""

import json
import sys
import time

import torch
from transformers import AutoModelForCausalLM

from gpu_check.prompts import PROMPT_TOKENS, prompts

DEVICE = "cuda" if torch.cuda.is_available() else "cpu"
NUM_COMPARED = 4


def say(text):
    print(f"    transformers: {text}", file=sys.stderr, flush=True)


def last_logits(model, ids):
    with torch.inference_mode():
        return model(torch.tensor(ids, device=DEVICE), logits_to_keep=1, use_cache=False).logits[:, -1].float()


def timed(model, batch):
    ids = prompts(batch, model.config.vocab_size)

    def once():
        began = time.perf_counter()
        last_logits(model, ids)
        if DEVICE == "cuda":
            torch.cuda.synchronize()
        return time.perf_counter() - began

    for _ in range(2):  # compiles at first
        once()
    seconds = sorted(once() for _ in range(5))[2]
    say(f"batch {batch}: {seconds * 1000:.1f} ms")
    return seconds


def main(directory, dtype, batches):
    model = AutoModelForCausalLM.from_pretrained(directory, dtype=getattr(torch, dtype), attn_implementation="sdpa").eval().to(DEVICE)
    say("loaded")
    found = {"prompts": prompts(NUM_COMPARED, model.config.vocab_size, seed=2, length=PROMPT_TOKENS // 4)}
    found["same_dtype"] = last_logits(model, found["prompts"]).tolist()
    for layer in model.model.layers:
        layer.compile(dynamic=False)
    found["seconds"] = {batch: timed(model, batch) for batch in batches}
    torch.compiler.reset()
    for layer in model.model.layers:
        layer._compiled_call_impl = None  # noqa: SLF001: there is no other way back
    found["float32"] = last_logits(model.float(), found["prompts"]).tolist()
    print(json.dumps(found))


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], [int(batch) for batch in sys.argv[3].split(",") if batch])
