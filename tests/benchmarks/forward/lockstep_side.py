"""Lockstep as the benchmark sees it: a server with its workers, spoken to through its public gRPC API."""

import os
import re
import threading
import time
import urllib.request

from harness.children import BenchmarkError, memory_of
from harness.lockstep_server import LockstepServer

# gRPC's fork handlers would wait for their threads whenever a child is started.
os.environ.setdefault("GRPC_ENABLE_FORK_SUPPORT", "0")
import grpc  # noqa: E402


class Stubs:
    """The protocol's Python modules, generated from proto/ into a directory that is on sys.path."""

    def __init__(self):
        from lockstep.v1 import admin_pb2, admin_pb2_grpc, generate_pb2, inference_pb2, inference_pb2_grpc, prompt_pb2

        self.admin, self.admin_grpc = admin_pb2, admin_pb2_grpc
        self.generate, self.prompt = generate_pb2, prompt_pb2
        self.inference, self.inference_grpc = inference_pb2, inference_pb2_grpc


class Stream(threading.Thread):
    """One greedy answer, with the time at which each of its deltas came."""

    def __init__(self, side, prompt, num_tokens):
        super().__init__(daemon=True)
        pb = side.stubs.generate
        self._request = pb.GenerateRequest(
            token_ids=side.stubs.prompt.TokenIds(ids=prompt),
            sampling=pb.SamplingParameters(temperature=0),
            stopping=pb.StoppingParameters(max_new_tokens=num_tokens, ignore_eos=True),
        )
        self._side = side
        self.arrivals = []  # (time, number of tokens) of each delta
        self.token_ids = []
        self.finished = None
        self.error = None

    def run(self):
        try:
            for response in self._side.inference.GenerateStream(self._request, timeout=self._side.call_seconds):
                if response.HasField("delta") and response.delta.token_ids:
                    self.arrivals.append((time.perf_counter(), len(response.delta.token_ids)))
                    self.token_ids.extend(response.delta.token_ids)
                elif response.HasField("finished"):
                    self.finished = response.finished
        except grpc.RpcError as error:
            self.error = error

    def check(self, num_tokens):
        if self.error:
            raise BenchmarkError(f"{self._side.name}: a stream ended with {self.error.code().name}: {self.error.details()}")
        if len(self.token_ids) != num_tokens:
            raise BenchmarkError(f"{self._side.name}: a stream gave {len(self.token_ids)} tokens, {num_tokens} were asked for")
        if self.finished.usage.cached_tokens:
            raise BenchmarkError(f"{self._side.name}: {self.finished.usage.cached_tokens} prompt tokens came from the prefix cache")


class LockstepSide:
    """A server with `num_ranks` workers of `threads_per_rank` threads."""

    side = "lockstep"

    def __init__(self, options, num_ranks, threads_per_rank, kv_cache_bytes, max_model_len):
        self.num_ranks = num_ranks
        self.threads_per_rank = threads_per_rank
        self.kv_cache_bytes = kv_cache_bytes
        self.name = f"lockstep-{num_ranks}x{threads_per_rank}"
        self.label = "Lockstep"
        self.call_seconds = options.call_seconds
        self._options = options
        self._server = None
        self._channel = None
        self.command = [
            options.bin_dir / "lockstep-server", "--model", options.model,
            "--tensor-parallel-size", num_ranks, "--threads-per-rank", threads_per_rank,
            "--kv-cache-memory", kv_cache_bytes, "--max-model-len", max_model_len,
            "--listen", "127.0.0.1:0", "--metrics-listen", "127.0.0.1:0",
        ]  # fmt: skip

    def start(self):
        """Starts the server; `start_seconds` is from there until the line that says that it is ready."""
        self._server = LockstepServer(self.command, self._options.work_dir / f"{self.name}.log", self._options.start_seconds)
        self.start_seconds = self._server.start_seconds
        self.stubs = Stubs()
        unlimited = [("grpc.max_receive_message_length", -1), ("grpc.max_send_message_length", -1)]
        self._channel = grpc.insecure_channel(self._server.target, options=unlimited)
        self.inference = self.stubs.inference_grpc.InferenceStub(self._channel)
        self._admin = self.stubs.admin_grpc.AdminStub(self._channel)
        self.pids = [self._server.pid] + [rank.pid for rank in self.ranks()]

    def _call(self, method, request):
        try:
            return method(request, timeout=self.call_seconds)
        except grpc.RpcError as error:
            raise BenchmarkError(f"{self.name}: {error.code().name}: {error.details()}") from None

    def _forward(self, prompts, all_positions):
        token_ids = [self.stubs.prompt.TokenIds(ids=prompt) for prompt in prompts]
        return self._call(self.inference.Forward, self.stubs.inference.ForwardRequest(prompts=token_ids, all_positions=all_positions))

    def forward(self, prompts, all_positions):
        """`seconds` is the step's duration as the server reports it, `call_seconds` what the client waited."""
        began = time.perf_counter()
        response = self._forward(prompts, all_positions)
        call_seconds = time.perf_counter() - began
        rows = [output.shape[0] for output in response.outputs]
        if rows != [len(prompt) if all_positions else 1 for prompt in prompts]:
            raise BenchmarkError(f"{self.name}: Forward answered with {rows} positions")
        return {"seconds": response.duration.ToTimedelta().total_seconds(), "call_seconds": call_seconds}

    def last_logits(self, prompts):
        return [memoryview(output.logits).cast("f") for output in self._forward(prompts, False).outputs]

    def run_streams(self, prompts, num_tokens):
        streams = [Stream(self, prompt, num_tokens) for prompt in prompts]
        for stream in streams:
            stream.start()
        for stream in streams:
            stream.join()
        for stream in streams:
            stream.check(num_tokens)
        return streams

    def decode(self, prompts, num_tokens):
        """Counts tokens only while all streams decode: from the last one's first token to the first one's last."""
        streams = self.run_streams(prompts, num_tokens)
        begin = max(stream.arrivals[0][0] for stream in streams)
        end = min(stream.arrivals[-1][0] for stream in streams)
        tokens = sum(count for stream in streams for when, count in stream.arrivals if begin < when <= end)
        return {"tokens_per_second": tokens / (end - begin), "token_ids": [stream.token_ids for stream in streams]}

    def step_totals(self):
        """Number and total duration of the steps so far, from /metrics; None if the metric is not there."""
        with urllib.request.urlopen(f"http://{self._server.metrics}/metrics", timeout=10) as response:
            text = response.read().decode("utf-8")
        totals = {}
        for kind, value in re.findall(r"^lockstep_step_duration_seconds_(sum|count)(?:\{[^}]*\})? (\S+)", text, re.MULTILINE):
            totals[kind] = totals.get(kind, 0.0) + float(value)
        return (totals["count"], totals["sum"]) if len(totals) == 2 else None

    def ranks(self):
        return self._call(self._admin.GetServerInfo, self.stubs.admin.GetServerInfoRequest()).ranks

    def frontend_pid(self):
        return self._server.pid

    def memory(self):
        """Of each rank: what the server says that it holds, and what the kernel says that its process takes."""
        return [
            {"rank": rank.rank, "weight_bytes": rank.weight_bytes, "kv_cache_bytes": rank.kv_cache_bytes, **memory_of(rank.pid)}
            for rank in self.ranks()
        ]

    def stop(self):
        if self._channel:
            self._channel.close()
        if self._server:
            self._server.stop()
