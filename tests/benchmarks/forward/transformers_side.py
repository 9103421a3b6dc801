"""The reference as the benchmark sees it: ranks that load once and then carry out commands."""

import json
import os
import pathlib
import select
import socket
import tempfile
import time

from children import BenchmarkError, Child, end_process

PEER_SCRIPT = pathlib.Path(__file__).with_name("transformers_peer.py")


class TransformersSide:
    """transformers in one process, or split over `num_ranks` with `tp_plan="auto"` under torchrun (gloo)."""

    side = "transformers"

    def __init__(self, options, num_ranks, threads_per_rank, dtype="bfloat16"):
        self.num_ranks = num_ranks
        self.threads_per_rank = threads_per_rank
        self.dtype = dtype
        self.name = f"transformers-{num_ranks}x{threads_per_rank}" + ("" if dtype == "bfloat16" else f"-{dtype}")
        how = 'tp_plan="auto", torchrun' if num_ranks > 1 else "one process"
        self.label = f"transformers, {how}"
        self._options = options
        self._child = None
        self._ranks = []
        self.pids = []
        self._directory = tempfile.TemporaryDirectory(prefix="lockstep-bench-")

    @property
    def command(self):
        script = [
            PEER_SCRIPT, "--model", self._options.model, "--socket", self._socket_path,
            "--threads", self.threads_per_rank, "--dtype", self.dtype,
        ]  # fmt: skip
        python = [self._options.reference_python]
        if self.num_ranks > 1:
            python += ["-m", "torch.distributed.run", "--standalone", "--nnodes=1", f"--nproc-per-node={self.num_ranks}"]
            script.append("--tensor-parallel")
        return python + script

    @property
    def _socket_path(self):
        return os.path.join(self._directory.name, "ranks")

    def start(self):
        with socket.socket(socket.AF_UNIX) as listener:
            listener.bind(self._socket_path)
            listener.listen(self.num_ranks)
            environment = {"OMP_NUM_THREADS": str(self.threads_per_rank), "HF_HUB_OFFLINE": "1", "TOKENIZERS_PARALLELISM": "false"}
            self._child = Child(self.command, self._options.work_dir / f"{self.name}.log", environment)
            hellos = []
            for _ in range(self.num_ranks):
                self._await(listener, self._options.start_seconds)
                connection = listener.accept()[0]
                self._ranks.append(connection.makefile("rw", encoding="utf-8"))
                self._ranks[-1].connection = connection
                hellos.append(json.loads(self._ranks[-1].readline()))
        order = sorted(range(self.num_ranks), key=lambda i: hellos[i]["rank"])
        self._ranks = [self._ranks[i] for i in order]
        self.hellos = [hellos[i] for i in order]
        self.pids = [hello["pid"] for hello in self.hellos]
        self.start_seconds = max(hello["load_seconds"] for hello in hellos)

    def _await(self, source, seconds):
        end = time.monotonic() + seconds
        while not select.select([source], [], [], 0.5)[0]:
            self._child.check_alive()
            if time.monotonic() > end:
                raise BenchmarkError(f"{self.name} gave no answer within {seconds} s; its log is {self._child.log_path}")

    def _run(self, **command):
        """The same command on all ranks; the slowest one's time counts."""
        for rank in self._ranks:
            rank.write(json.dumps(command) + "\n")
            rank.flush()
        answers = []
        for rank in self._ranks:
            self._await(rank.connection, self._options.call_seconds)
            line = rank.readline()
            if not line:
                time.sleep(0.5)  # lets the exit status arrive
                self._child.check_alive()
                raise BenchmarkError(f"a rank of {self.name} ended; its log {self._child.log_path} ends:\n{self._child.log_tail()}")
            answers.append(json.loads(line))
        return {**answers[0], "seconds": max(answer["seconds"] for answer in answers)}

    def forward(self, prompts, all_positions):
        return {"seconds": self._run(op="forward", prompts=prompts, all_positions=all_positions)["seconds"]}

    def last_logits(self, prompts):
        path = os.path.join(self._directory.name, "logits.f32")
        num_vocab = self._run(op="forward", prompts=prompts, all_positions=False, logits_file=path)["shape"][-1]
        with open(path, "rb") as file:
            data = memoryview(file.read()).cast("f")
        return [data[i * num_vocab : (i + 1) * num_vocab] for i in range(len(prompts))]

    def gemm_rate(self, rows, inner, columns):
        """Operations per second that the reference's library reaches on all ranks' threads together."""
        return self.num_ranks * self._run(op="gemm", rows=rows, inner=inner, columns=columns)["rate"]

    def decode(self, prompts, num_tokens):
        answer = self._run(op="decode", prompts=prompts, num_tokens=num_tokens)
        num_decoded = len(prompts) * (num_tokens - 1)
        return {"tokens_per_second": num_decoded / answer["seconds"], "token_ids": answer["token_ids"]}

    def stop(self):
        for rank in self._ranks:
            rank.close()
            rank.connection.close()
        if self._child:
            self._child.stop()
        # torchrun's ranks have sessions of their own; they leave at the socket's end, unless something holds them.
        for pid in self.pids:
            end_process(pid)
        self._directory.cleanup()
