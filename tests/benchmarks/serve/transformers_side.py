"""transformers' continuous batching as the benchmark sees it: a process that carries out one workload after another."""

import os
import pathlib

from harness.children import BenchmarkError
from harness.peer_processes import PeerProcesses
from options import max_length
from summary import summarize

PEER_SCRIPT = pathlib.Path(__file__).with_name("transformers_peer.py")


class TransformersSide:
    side = "transformers"
    label = "transformers, continuous batching"

    def __init__(self, options, model, config, dtype="bfloat16"):
        self._options = options
        self._peer = None
        self._command = lambda socket_path: [
            options.reference_python, PEER_SCRIPT, "--model", model, "--socket", socket_path, "--threads", options.cores, "--dtype", dtype,
            "--places", max(options.concurrency), "--max-length", max_length(options),
        ]  # fmt: skip
        self.command = self._command("SOCKET")

    def start(self):
        if not os.access(self._options.reference_python, os.X_OK):
            raise BenchmarkError(f"{self._options.reference_python} cannot be run; scripts/setup --reference makes it")
        environment = {"OMP_NUM_THREADS": str(self._options.cores), "HF_HUB_OFFLINE": "1", "TOKENIZERS_PARALLELISM": "false"}
        log = self._options.work_dir / "serve-transformers.log"
        self._peer = PeerProcesses(self.side, self._command, 1, log, self._options.start_seconds, environment)
        hello = self._peer.hellos[0]
        self.pids = [hello["pid"]]
        self.version = f"transformers {hello['transformers']}, torch {hello['torch']}, {hello['attention']} attention"

    def _run(self, requests, concurrency):
        answer = self._peer.run(self._options.run_seconds, requests=requests, concurrency=concurrency)[0]
        if answer.get("error"):
            raise BenchmarkError(f"transformers: {answer['error']}")
        return answer

    def run(self, requests, concurrency):
        answer = self._run(requests, concurrency)
        # The requests are made in the server's own process: there is no client to count.
        return {**summarize(answer["answers"], answer["seconds"]), "client_cpu_seconds": 0.0}

    def greedy(self, requests):
        return [answer["token_ids"] for answer in self._run(requests, len(requests))["answers"]]

    def stop(self):
        if self._peer:
            self._peer.stop()
