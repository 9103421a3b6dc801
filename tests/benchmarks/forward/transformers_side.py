"""The reference as the benchmark sees it: ranks that load once and then carry out commands."""

import os
import pathlib

from harness.children import end_process
from harness.peer_processes import PeerProcesses

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
        self._ranks = None
        self.pids = []
        self.command = self._command("SOCKET")

    def _command(self, socket_path):
        script = [
            PEER_SCRIPT, "--model", self._options.model, "--socket", socket_path,
            "--threads", self.threads_per_rank, "--dtype", self.dtype,
        ]  # fmt: skip
        python = [self._options.reference_python]
        if self.num_ranks > 1:
            python += ["-m", "torch.distributed.run", "--standalone", "--nnodes=1", f"--nproc-per-node={self.num_ranks}"]
            script.append("--tensor-parallel")
        return python + script

    def start(self):
        environment = {"OMP_NUM_THREADS": str(self.threads_per_rank), "HF_HUB_OFFLINE": "1", "TOKENIZERS_PARALLELISM": "false"}
        log = self._options.work_dir / f"{self.name}.log"
        self._ranks = PeerProcesses(self.name, self._command, self.num_ranks, log, self._options.start_seconds, environment)
        self.hellos = self._ranks.hellos
        self.pids = [hello["pid"] for hello in self.hellos]
        self.start_seconds = max(hello["load_seconds"] for hello in self.hellos)

    def _run(self, **command):
        """The same command on all ranks; the slowest one's time counts."""
        answers = self._ranks.run(self._options.call_seconds, **command)
        return {**answers[0], "seconds": max(answer["seconds"] for answer in answers)}

    def forward(self, prompts, all_positions):
        return {"seconds": self._run(op="forward", prompts=prompts, all_positions=all_positions)["seconds"]}

    def last_logits(self, prompts):
        path = os.path.join(self._ranks.directory, "logits.f32")
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
        if self._ranks:
            self._ranks.stop()
        # torchrun's ranks have sessions of their own; they leave at the socket's end, unless something holds them.
        for pid in self.pids:
            end_process(pid)
