"""transformers' continuous batching, driven over a Unix socket by the benchmark.

Runs in the reference environment (torch, transformers). Each line that arrives is a JSON workload, each answer a JSON line with the time
of every token. Requests are added in this process, without a server before it; tokens are counted as its streaming delivers them.
"""

import argparse
import json
import os
import socket
import sys
import time

import torch
import transformers
from transformers import ContinuousBatchingConfig, GenerationConfig, LlamaForCausalLM

PAGE_SIZE = 32
# Waiting for a result is over when a request is due, or after this long.
MAX_WAIT_SECONDS = 0.5


def start_batching(arguments):
    # Of the two kinds of attention that continuous batching has on a CPU, sdpa and paged eager, the faster one.
    model = LlamaForCausalLM.from_pretrained(arguments.model, dtype=getattr(torch, arguments.dtype), attn_implementation=arguments.attention).eval()
    blocks_per_place = -(-arguments.max_length // PAGE_SIZE) + 1
    manager = model.init_continuous_batching(
        generation_config=GenerationConfig(do_sample=False, eos_token_id=-1, pad_token_id=0, max_new_tokens=arguments.max_length),
        continuous_batching_config=ContinuousBatchingConfig(
            page_size=PAGE_SIZE, num_blocks=2 * arguments.places * blocks_per_place, max_batch_tokens=1024,
            max_requests_per_batch=arguments.places, allow_block_sharing=False, auto_switch_to_flash=False,
        ),
    )  # fmt: skip
    manager.start()
    return manager


class Workload:
    """Sends each request at its time, or when a place is free where the concurrency is limited, and notes when tokens come."""

    def __init__(self, manager, requests, concurrency):
        self._manager = manager
        self._requests = requests
        self._limit = concurrency or len(requests)
        self._sent = self._done = 0
        self._indices = {}
        self._answers = [{"intended": None, "arrivals": [], "token_ids": []} for _ in requests]

    def run(self):
        self._began = time.perf_counter()
        while self._done < len(self._requests):
            self._send_what_is_due()
            result = self._manager.get_result(timeout=self._seconds_to_wait())
            if result is not None:
                self._take(result)
            elif self._manager.background_thread_status.fatal_error is not None or not self._manager.is_running():
                return {"error": f"the generation thread ended: {self._manager.background_thread_status.fatal_error}"}
        return {"seconds": self._now(), "answers": self._answers}

    def _now(self):
        return time.perf_counter() - self._began

    def _may_send(self):
        return self._sent < len(self._requests) and self._sent - self._done < self._limit

    def _send_what_is_due(self):
        while self._may_send() and (at := self._requests[self._sent]["timestamp"]) <= (now := self._now()):
            request, answer = self._requests[self._sent], self._answers[self._sent]
            answer["intended"] = now if self._limit < len(self._requests) else at
            name = self._manager.add_request(request["token_ids"], max_new_tokens=request["output_length"], streaming=True, eos_token_id=-1)
            self._indices[name] = self._sent
            self._sent += 1

    def _seconds_to_wait(self):
        if not self._may_send():
            return MAX_WAIT_SECONDS
        return min(MAX_WAIT_SECONDS, max(0.0001, self._requests[self._sent]["timestamp"] - self._now()))

    def _take(self, result):
        answer = self._answers[self._indices[result.request_id]]
        num_new = len(result.generated_tokens) - len(answer["arrivals"])
        answer["arrivals"] += [self._now()] * num_new
        if result.is_finished():
            answer["token_ids"] = list(result.generated_tokens)
            self._done += 1


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--model", required=True)
    parser.add_argument("--socket", required=True)
    parser.add_argument("--threads", type=int, required=True)
    parser.add_argument("--dtype", choices=["bfloat16", "float32"], required=True)
    parser.add_argument("--places", type=int, required=True)
    parser.add_argument("--max-length", type=int, required=True)
    parser.add_argument("--attention", choices=["sdpa", "eager"], default="sdpa")
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    manager = start_batching(arguments)
    connection = socket.socket(socket.AF_UNIX)
    connection.connect(arguments.socket)
    lines = connection.makefile("rw", encoding="utf-8")

    def answer(message):
        lines.write(json.dumps(message) + "\n")
        lines.flush()

    attention = manager.model.config._attn_implementation
    answer({"pid": os.getpid(), "transformers": transformers.__version__, "torch": torch.__version__, "attention": attention})
    for line in lines:
        answer(Workload(manager, **json.loads(line)).run())
    manager.stop(block=True, timeout=10, hard_stop=True)
    sys.stdout.flush()
    os._exit(0)


if __name__ == "__main__":
    main()
