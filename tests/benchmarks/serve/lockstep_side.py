"""Lockstep: a server with one worker, and `lockstep bench serve` as its client."""

import concurrent.futures
import json
import resource
import subprocess
import tempfile

import workload
from harness.checkpoint import kv_cache_bytes_per_token
from harness.children import BenchmarkError
from harness.lockstep_server import LockstepServer
from options import max_length


def _children_cpu_seconds():
    usage = resource.getrusage(resource.RUSAGE_CHILDREN)
    return usage.ru_utime + usage.ru_stime


class LockstepSide:
    side = "lockstep"
    label = "Lockstep"

    def __init__(self, options, model, config, dtype="bfloat16"):
        self._options = options
        self._client = options.bin_dir / "lockstep"
        self._server = None
        places = max(options.concurrency)
        # Twice what all places need, so that no request waits for memory; bytes of bfloat16.
        kv_cache = 2 * places * max_length(options) * kv_cache_bytes_per_token(config) * (2 if dtype == "float32" else 1)
        self.command = [
            options.bin_dir / "lockstep-server", "--model", model, "--dtype", dtype, "--threads-per-rank", options.cores,
            "--max-num-seqs", places, "--max-model-len", max_length(options), "--kv-cache-memory", max(kv_cache, 64 << 20),
            "--listen", "127.0.0.1:0", "--metrics-listen", "127.0.0.1:0",
        ]  # fmt: skip

    def start(self):
        self._server = LockstepServer(self.command, self._options.work_dir / "serve-lockstep.log", self._options.start_seconds)
        status = json.loads(self._call(["status", "--json"]))
        self.pids = [self._server.pid] + [rank["pid"] for rank in status["server"]["ranks"]]
        self.version = "this tree"

    def _call(self, arguments):
        command = [self._client, "--target", self._server.target, *map(str, arguments)]
        done = subprocess.run(command, capture_output=True, text=True, timeout=self._options.run_seconds)
        if done.returncode != 0:
            raise BenchmarkError(f"`lockstep {arguments[0]}` failed with status {done.returncode}: {done.stderr or done.stdout}")
        return done.stdout

    def run(self, requests, concurrency):
        """`concurrency` None: every request at its time."""
        with tempfile.NamedTemporaryFile("w", suffix=".jsonl") as trace:
            workload.write(requests, trace.name)
            arguments = ["bench", "serve", "--json", "--trace", trace.name]
            before = _children_cpu_seconds()
            output = self._call(arguments + (["--max-concurrency", concurrency] if concurrency else []))
        run = json.loads(output)["runs"][0]
        if run["requests"]["completed"] != len(requests) or run["cached_tokens"]:
            raise BenchmarkError(f"lockstep: {run['requests']}, {run['cached_tokens']} tokens from the cache; expected {len(requests)} completed and none cached")
        return {
            "seconds": run["duration_seconds"],
            "output_tokens": run["output_tokens"],
            "output_tokens_per_second": run["output_tokens_per_second"],
            "requests_per_second": run["requests_per_second"],
            "tpot_p50": run["tpot_seconds"]["p50"],
            **{f"{name}_{key}": run[f"{name}_seconds"][key] for name in ("ttft", "itl") for key in ("p50", "p99")},
            "client_cpu_seconds": _children_cpu_seconds() - before,
        }

    def greedy(self, requests):
        """Token ids of all answers, asked for at once."""

        def ask(request):
            lines = self._call(["generate", "--json", "--token-ids", ",".join(map(str, request["token_ids"])), "-n", request["output_length"],
                                "--ignore-eos", "--temperature", "0"]).splitlines()  # fmt: skip
            deltas = (json.loads(line).get("delta", {}) for line in lines)
            return [token for delta in deltas for token in delta.get("token_ids", [])]

        with concurrent.futures.ThreadPoolExecutor(len(requests)) as threads:
            return list(threads.map(ask, requests))

    def stop(self):
        if self._server:
            self._server.stop()
