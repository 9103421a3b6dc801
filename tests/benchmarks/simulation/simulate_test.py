"""lockstep-simulate carries out what it is asked for.

    simulate_test.py SIMULATE_BINARY
"""

import json
import subprocess
import sys
import unittest

BINARY = sys.argv.pop(1)


def simulate(**options):
    """The outcomes of a few thousand requests, more per second than the pool can carry."""
    command = [BINARY, "--json", "--num-requests", "3000", "--request-rate", "60"]
    for name, value in options.items():
        command += [f"--{name.replace('_', '-')}", str(value)]
    return json.loads(subprocess.run(command, check=True, capture_output=True, text=True, timeout=100).stdout)["requests"]


class SimulateTest(unittest.TestCase):
    def test_every_request_has_one_end(self):
        requests = simulate()
        self.assertEqual(requests["offered"], 3000)
        self.assertEqual(sum(requests[end] for end in ("completed", "refused", "deadline_exceeded", "cancelled", "failed")), 3000)
        self.assertEqual(requests["failed"], 0)

    def test_the_queue_has_its_limit(self):
        self.assertEqual(simulate(max_queued_requests=3000)["refused"], 0)
        self.assertGreater(simulate(max_queued_requests=10)["refused"], 100)


if __name__ == "__main__":
    unittest.main(verbosity=2)
