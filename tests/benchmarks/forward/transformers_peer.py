"""One rank of the reference: transformers, driven over a Unix socket by the benchmark.

Runs in the reference environment (torch, transformers), either alone or as a rank under torchrun, where the model is
split with transformers' own `tp_plan="auto"` over gloo. Each line that arrives is a JSON command, each answer a JSON
line. The end of the socket ends the process, so no rank outlives the benchmark.
"""

import argparse
import array
import json
import os
import socket
import sys
import time

import torch
import transformers
from transformers import AutoModelForCausalLM


class Rank:
    def __init__(self, model_dir, dtype, tensor_parallel):
        began = time.perf_counter()
        split = {"tp_plan": "auto"} if tensor_parallel else {}
        self.model = AutoModelForCausalLM.from_pretrained(model_dir, dtype=getattr(torch, dtype), **split).eval()
        self.load_seconds = time.perf_counter() - began
        self.rank = int(os.environ.get("RANK", "0"))

    def hello(self):
        layer = self.model.model.layers[0]
        q_weight = layer.self_attn.q_proj.weight
        # A DTensor's shape is the whole; its local part is what this rank multiplies.
        local = q_weight.to_local() if hasattr(q_weight, "to_local") else q_weight
        return {
            "rank": self.rank,
            "pid": os.getpid(),
            "load_seconds": self.load_seconds,
            "torch": torch.__version__,
            "transformers": transformers.__version__,
            "num_threads": torch.get_num_threads(),
            "attention": self.model.config._attn_implementation,
            "q_proj_rows": local.shape[0],
        }

    def forward(self, prompts, all_positions, logits_file=None):
        """Times one call of the model; optionally writes the last positions' logits, [num_prompts, vocab_size]."""
        input_ids = torch.tensor(prompts)
        began = time.perf_counter()
        if all_positions:
            logits = self.model(input_ids, use_cache=False).logits
        else:
            logits = self.last_position(self.model.model(input_ids, use_cache=False))
        seconds = time.perf_counter() - began
        if logits_file and self.rank == 0:
            with open(logits_file, "wb") as file:
                array.array("f", logits[:, -1].float().flatten().tolist()).tofile(file)
        return {"seconds": seconds, "shape": list(logits.shape)}

    def last_position(self, output):
        """What logits_to_keep=1 gives, faster: the strides of its slice lead PyTorch to a bfloat16 product that takes
        seconds instead of milliseconds. Timing that would flatter the other side."""
        last = output.last_hidden_state[:, -1].clone(memory_format=torch.contiguous_format)
        return self.model.lm_head(last.unsqueeze(1))

    def gemm(self, rows, inner, columns):
        """Operations per second of one matrix product on this rank's threads, at its best.

        Processors without bfloat16 products are faster in float32, and limited by that.
        """
        best = float("inf")
        for dtype in (torch.bfloat16, torch.float32):
            inputs, weight = torch.randn(rows, inner).to(dtype), torch.randn(columns, inner).to(dtype)
            for _ in range(12):
                began = time.perf_counter()
                torch.nn.functional.linear(inputs, weight)
                best = min(best, time.perf_counter() - began)
        return {"seconds": best, "rate": 2 * rows * inner * columns / best}

    def decode(self, prompts, num_tokens):
        """Greedy decoding with a KV cache, by hand: generate() adds its own work to every token.

        `seconds` is the time of the num_tokens - 1 steps after the prefill.
        """
        output = self.model.model(torch.tensor(prompts), use_cache=True)
        token_ids = [self.last_position(output)[:, -1].argmax(-1, keepdim=True)]
        began = time.perf_counter()
        for _ in range(num_tokens - 1):
            output = self.model(token_ids[-1], past_key_values=output.past_key_values, use_cache=True)
            token_ids.append(output.logits[:, -1].argmax(-1, keepdim=True))
        seconds = time.perf_counter() - began
        return {"seconds": seconds, "token_ids": torch.cat(token_ids, dim=1).tolist()}


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--model", required=True)
    parser.add_argument("--socket", required=True)
    parser.add_argument("--threads", type=int, required=True)
    parser.add_argument("--dtype", choices=["bfloat16", "float32"], default="bfloat16")
    parser.add_argument("--tensor-parallel", action="store_true")
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    rank = Rank(arguments.model, arguments.dtype, arguments.tensor_parallel)
    connection = socket.socket(socket.AF_UNIX)
    connection.connect(arguments.socket)
    lines = connection.makefile("rw", encoding="utf-8")

    def answer(message):
        lines.write(json.dumps(message) + "\n")
        lines.flush()

    answer(rank.hello())
    operations = {"forward": rank.forward, "decode": rank.decode, "gemm": rank.gemm}
    with torch.inference_mode():
        for line in lines:
            command = json.loads(line)
            answer(operations[command.pop("op")](**command))
    # A rank that leaves first would let its peers wait in a collective's destructor.
    sys.stdout.flush()
    os._exit(0)


if __name__ == "__main__":
    main()
