"""What a GPU did, from a trace that lockstep-server --profile-dir wrote.

    python3 -m gpu_check.profile TRACE…      prints the kernels that took the time, and the gaps between steps
"""

import json
import re
import sys
from collections import defaultdict

GPU_CATEGORIES = {"kernel", "gpu_memcpy", "gpu_memset"}
# A step's first kernel and its last, when all its rows sample.
FIRST_KERNEL, LAST_KERNEL = "EmbeddingKernel", "StoreTokensKernel"


def short(name):
    """A kernel's name without its namespaces, types and parameters."""
    name = name.replace("(anonymous namespace)", "")
    name = re.sub(r"^(void|auto) ", "", name)
    base = re.split(r"[<(]", name)[0].split("::")[-1]
    return base or name[:60]


class Profile:
    """Times in microseconds."""

    def __init__(self, path):
        with open(path, encoding="utf-8") as file:
            events = json.load(file)["traceEvents"]
        found = [(event["ts"], event["ts"] + event["dur"], short(event["name"])) for event in events if event.get("cat") in GPU_CATEGORIES]
        self.events = sorted(found)
        self.starts = [begin for begin, _, name in self.events if name == FIRST_KERNEL]
        ends = [end for _, end, name in self.events if name == LAST_KERNEL]
        # A step that did not sample has no last kernel; its gap is not known.
        self.gaps, self.steps = [], []
        for begin, following in zip(self.starts, self.starts[1:]):
            ended = [end for end in ends if begin < end < following]
            if ended:
                self.gaps.append(following - ended[-1])
                self.steps.append(following - begin)

    def gap_share(self):
        """Of the time, what lies between the last kernel of a step and the first of the next."""
        return sum(self.gaps) / sum(self.steps) if self.steps else None

    def busy_share(self):
        """Of the time, when any kernel or copy ran."""
        busy, reached = 0.0, self.events[0][0]
        for begin, end, _ in self.events:
            busy += max(0.0, end - max(begin, reached))
            reached = max(reached, end)
        return busy / (reached - self.events[0][0])

    def kernels(self, num=14):
        """[[name, calls per step, microseconds per step]], those that took most first."""
        totals = defaultdict(lambda: [0, 0.0])
        for begin, end, name in self.events:
            totals[name][0] += 1
            totals[name][1] += end - begin
        num_steps = max(1, len(self.starts))
        most = sorted(totals.items(), key=lambda item: -item[1][1])[:num]
        return [[name, round(calls / num_steps, 1), round(time / num_steps, 1)] for name, (calls, time) in most]

    def document(self):
        return {"steps": len(self.starts), "step_us": round(sum(self.steps) / max(1, len(self.steps)), 1), "gap_share": self.gap_share(),
                "busy_share": self.busy_share(), "kernels": self.kernels()}  # fmt: skip


if __name__ == "__main__":
    for trace in sys.argv[1:]:
        print(trace, json.dumps(Profile(trace).document(), indent=1))
