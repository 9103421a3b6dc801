"""Guided answers through the real server and its workers, on the demo model, which was never trained to give such answers.

    guides_test.py SERVER_BINARY MODEL_DIR PROTO_DIR GOOGLE_PROTO_DIR
"""

import json
import re
import shutil
import sys
import tempfile
import unittest
import urllib.request
from concurrent.futures import ThreadPoolExecutor

import running_server

TIMEOUT = 120
ARGUMENTS = {}
REGEX = r"(Mon|Tues|Wednes|Thurs|Fri|Satur|Sun)day, [0-9]{1,2}:[0-9]{2}"
SCHEMA = {
    "type": "object",
    "properties": {
        "name": {"type": "string", "minLength": 1, "maxLength": 20},
        "legs": {"enum": [2, 4, 6]},
        "tame": {"type": "boolean"},
        "size": {"$ref": "#/$defs/size"},
    },
    "required": ["name", "legs", "tame", "size"],
    "additionalProperties": False,
    "$defs": {"size": {"type": "integer", "minimum": 0, "maximum": 100}},
    "x-guidance": {"whitespace_flexible": False},
}
GRAMMAR = 'start: sum\nsum: NUMBER ("+" NUMBER)+\nNUMBER: /[0-9]{1,2}/\n'


def setUpModule():
    ARGUMENTS["dir"] = tempfile.mkdtemp()
    ARGUMENTS.update(running_server.generated_modules(ARGUMENTS["protos"], ARGUMENTS["google_protos"], ARGUMENTS["dir"]))


def tearDownModule():
    shutil.rmtree(ARGUMENTS["dir"])


class Answers:
    """A server with its workers, and answers from it."""

    def __init__(self, *arguments, **options):
        self.server = running_server.RunningServer(ARGUMENTS["binary"], ARGUMENTS["model"], "--dtype", "float32",
                                                   *arguments, **options)
        self.inference = ARGUMENTS["inference_pb2_grpc"].InferenceStub(self.server.channel)

    def request(self, guide, seed=1, temperature=1.0, num_sequences=1):
        request = ARGUMENTS["generate_pb2"].GenerateRequest(
            chat={"messages": [{"role": "user", "content": "Tell me a story about a cat."}]},
            sampling={"temperature": temperature, "seed": seed}, stopping={"max_new_tokens": 300},
            num_sequences=num_sequences)
        if guide is not None:
            request.guide.CopyFrom(ARGUMENTS["generate_pb2"].Guide(**guide))
        return request

    def get(self, *arguments, **options):
        return self.inference.Generate(self.request(*arguments, **options), timeout=TIMEOUT).sequences

    def stop(self):
        status = self.server.stop()
        assert status == 0, f"exit status {status} after SIGTERM:\n{self.server.log()}"


def reason(sequence):
    return ARGUMENTS["generate_pb2"].FinishReason.Name(sequence.finished.reason)


class GuidesTest(unittest.TestCase):
    def check_answers(self, answers):
        def one(seed):
            kinds = [{"regex": REGEX}, {"json_schema": json.dumps(SCHEMA)}, {"grammar": GRAMMAR},
                     {"choice": {"choices": ["a cat", "a cat and a dog", "neither"]}}, None]
            guide = kinds[seed % len(kinds)]
            sequence = answers.get(guide, seed)[0]
            if guide is None:
                return seed, sequence.text
            self.assertEqual(reason(sequence), "EOS", sequence.text)
            if "regex" in guide:
                self.assertRegex(sequence.text, f"^{REGEX}$")
            elif "json_schema" in guide:
                parsed = json.loads(sequence.text)
                self.assertEqual(set(parsed), set(SCHEMA["required"]))
                self.assertIn(parsed["legs"], [2, 4, 6])
                self.assertTrue(0 <= parsed["size"] <= 100)
            elif "grammar" in guide:
                self.assertTrue(re.fullmatch(r"[0-9]{1,2}(\+[0-9]{1,2})+", sequence.text), sequence.text)
            else:
                self.assertIn(sequence.text, guide["choice"]["choices"])
            return seed, sequence.text

        with ThreadPoolExecutor(20) as threads:
            return dict(threads.map(one, range(20)))

    def test_answers_have_their_form_and_are_the_same_at_any_number_of_ranks_and_plans(self):
        texts = []
        for ranks, depth in [(1, 1), (2, 2), (4, 4)]:
            answers = Answers("--max-steps-in-flight", str(depth), ranks=ranks)
            try:
                texts.append(self.check_answers(answers))
            finally:
                answers.stop()
        self.assertEqual(texts[0], texts[1])
        self.assertEqual(texts[0], texts[2])

    def test_preempted_answers_keep_their_form(self):
        # 20 answers together need more blocks than there are.
        answers = Answers("--kv-cache-memory", "2MiB", "--block-size", "8", ranks=1)
        try:
            self.check_answers(answers)
            with urllib.request.urlopen(f"http://{answers.server.metrics_address}/metrics", timeout=TIMEOUT) as response:
                metrics = response.read().decode()
            self.assertGreater(float(re.search(r"^lockstep_preemptions_total (\S+)$", metrics, re.M).group(1)), 0)
        finally:
            answers.stop()

    def test_greedy_and_several_answers(self):
        answers = Answers(ranks=2)
        try:
            sequences = answers.get({"regex": REGEX}, temperature=0.0, num_sequences=3)
            self.assertEqual(len({sequence.text for sequence in sequences}), 1)
            for sequence in answers.get({"json_object": True}, seed=3, num_sequences=4):
                if reason(sequence) == "EOS":
                    self.assertIsInstance(json.loads(sequence.text), dict)
                else:
                    self.assertEqual(reason(sequence), "LENGTH")
        finally:
            answers.stop()


if __name__ == "__main__":
    ARGUMENTS["binary"], ARGUMENTS["model"], ARGUMENTS["protos"], ARGUMENTS["google_protos"] = sys.argv[1:5]
    unittest.main(argv=sys.argv[:1], verbosity=2)
