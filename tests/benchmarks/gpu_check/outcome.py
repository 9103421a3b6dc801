"""What a check of a GPU machine found, and how checks are run: one that fails or hangs does not keep the others from running."""

import dataclasses
import time

from harness.progress import say

# Measured: a figure that has no aim, which nothing can be said of.
PASSED, FAILED, MEASURED, UNMEASURED = "passed", "failed", "measured", "unmeasured"


class Unmeasured(Exception):
    """Says why something could not be measured here."""


@dataclasses.dataclass
class Outcome:
    """A fact or a figure. `aim` is empty where a figure has none; `value` is text for people."""

    name: str
    status: str
    value: str = ""
    aim: str = ""


def figure(name, value, aim=None, at_most=False, unit=""):
    """A measured number against its aim, or without one."""
    text = f"{value:,.4g}{unit}"
    if aim is None:
        return Outcome(name, MEASURED, text)
    reached = value <= aim if at_most else value >= aim
    return Outcome(name, PASSED if reached else FAILED, text, f"{'≤' if at_most else '≥'} {aim:,.4g}{unit}")


def one_line(error):
    """The end of an error's text, which says most, for a table."""
    return " ".join(str(error).split())[-300:]


def fact(name, holds, value=""):
    return Outcome(name, PASSED if holds else FAILED, value)


class Checks:
    """Runs checks one after another within a time for all of them. A check gets a deadline (time.monotonic()) and yields outcomes."""

    def __init__(self, seconds):
        self.deadline = time.monotonic() + seconds
        self.outcomes = []

    def run(self, name, check, seconds):
        left = self.deadline - time.monotonic()
        if left < min(seconds, 10):
            self._add(Outcome(name, UNMEASURED, "no time was left"))
            return
        say(name)
        try:
            for outcome in check(time.monotonic() + min(seconds, left)):
                self._add(outcome)
        except Unmeasured as reason:
            self._add(Outcome(name, UNMEASURED, str(reason)))
        except Exception as error:  # noqa: BLE001: whatever a check meets on an unknown machine is its result
            # What ended because the time for all did says nothing of what it was about.
            is_over = time.monotonic() >= self.deadline
            text = f"{type(error).__name__}: {one_line(error)}"
            self._add(Outcome(name, UNMEASURED, f"no time was left: {text}") if is_over else Outcome(name, FAILED, text))

    def _add(self, outcome):
        self.outcomes.append(outcome)
        say(f"  {outcome.status}: {outcome.name} {outcome.value}")
