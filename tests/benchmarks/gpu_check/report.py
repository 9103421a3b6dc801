"""The report: report.md for people, report.json for programs, sweep.svg where a sweep was measured."""

import json

from harness.chart import draw
from harness.tables import table

from gpu_check.outcome import FAILED, MEASURED, PASSED, UNMEASURED

MARKS = {PASSED: "yes", FAILED: "**no**", MEASURED: "no aim", UNMEASURED: "unmeasured"}


def page(subject_text, facts, outcomes, has_chart, profiles=None, kernel_rates=""):
    counts = {status: sum(outcome.status == status for outcome in outcomes) for status in MARKS}
    rows = [[outcome.name, outcome.aim, outcome.value, MARKS[outcome.status]] for outcome in outcomes]
    parts = [
        "# Lockstep on a GPU",
        "Written by `scripts/gpu-check`. Only what a line gives a value for has been measured.",
        f"- {subject_text}\n- {facts['cpu']}, {facts['cores']} cores; commit {facts['commit']}; {facts['date']}\n"
        f"- {counts[PASSED]} passed, {counts[FAILED]} failed, {counts[MEASURED]} measured without an aim, {counts[UNMEASURED]} unmeasured",
        table(["check", "aim", "found", "passed"], rows),
    ]
    if has_chart:
        parts.insert(3, "![Forward pass beside transformers](sweep.svg)")
    return "\n\n".join(parts + profile_tables(profiles or {}) + rates(kernel_rates)) + "\n"


def profile_tables(profiles):
    """Of each profile, the kernels that took most of a step."""
    parts = []
    for name, found in profiles.items():
        rows = [[f"`{kernel}`", f"{calls:g}", f"{time:,.1f}"] for kernel, calls, time in found["kernels"]]
        parts.append(f"## Profile of {name}\n\n{found['steps']} steps of {found['step_us']:,.0f} µs; the GPU was busy {found['busy_share']:.1%} of the time")
        parts.append(table(["kernel", "calls per step", "µs per step"], rows))
    return parts


def rates(text):
    return [f"## Kernels beside LibTorch's\n\n`gpu_kernels_benchmark`, shapes of Llama-3-8B in bfloat16:\n\n```\n{text}```"] if text else []


def chart(ours, peer, gpu):
    groups = [f"batch {batch}" for batch in ours]
    series = [{"label": "Lockstep", "side": "lockstep", "values": [seconds * 1000 for seconds in ours.values()]},
              {"label": "transformers, torch.compile", "side": "transformers", "values": [peer[b] * 1000 if b in peer else None for b in ours]}]  # fmt: skip
    return draw("Forward pass of 512 tokens per prompt", gpu, [{"title": "Time", "unit": "milliseconds", "groups": groups, "series": series}])


def write(directory, subject, facts, outcomes, peer_seconds):
    directory.mkdir(parents=True, exist_ok=True)
    text = f"{subject.gpu or 'no GPU: the CPU took its part'}, {subject.dtype}, `{subject.large.name}`"
    has_chart = bool(subject.forward_seconds)
    if has_chart:
        (directory / "sweep.svg").write_text(chart(subject.forward_seconds, peer_seconds, text.replace("`", "")), encoding="utf-8")
    (directory / "report.md").write_text(page(text, facts, outcomes, has_chart, subject.profiles, subject.kernel_rates), encoding="utf-8")
    document = {"gpu": subject.gpu, "dtype": subject.dtype, "model": subject.large.name, "machine": facts,
                "outcomes": [vars(outcome) for outcome in outcomes], "forward_seconds": subject.forward_seconds, "transformers_seconds": peer_seconds, "profiles": subject.profiles}  # fmt: skip
    (directory / "report.json").write_text(json.dumps(document, indent=2) + "\n", encoding="utf-8")
