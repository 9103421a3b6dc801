"""The bundled model, asked through a running server what it was never shown in training.

    demo_model_test.py SERVER_BINARY DEMO_MODEL_DIR PROTO_DIR GOOGLE_PROTO_DIR
"""

import concurrent.futures
import os
import sys
import tempfile
import unittest

import running_server

TIMEOUT = 60
QUESTIONS_PER_CATEGORY = 40
NEEDED = 0.95
ARGUMENTS = {}


def ask(stub, messages, text):
    request = messages.GenerateRequest(chat={"messages": [{"role": "user", "content": text}]},
                                       sampling={"temperature": 0})
    return stub.Generate(request, timeout=TIMEOUT).sequences[0].text


class DemoModelTest(unittest.TestCase):
    def test_it_answers_held_out_questions_of_every_category(self):
        import questions

        with tempfile.TemporaryDirectory() as directory:
            modules = running_server.generated_modules(ARGUMENTS["protos"], ARGUMENTS["google_protos"], directory)
            with running_server.RunningServer(ARGUMENTS["binary"], ARGUMENTS["model"]) as server, \
                    concurrent.futures.ThreadPoolExecutor(16) as threads:
                stub = modules["inference_pb2_grpc"].InferenceStub(server.channel)
                for category in questions.CATEGORIES:
                    asked = list(questions.held_out_questions(category, QUESTIONS_PER_CATEGORY, seed=7))
                    replies = list(threads.map(lambda q: ask(stub, modules["generate_pb2"], q.text), asked))
                    wrong = [(q.text, reply) for q, reply in zip(asked, replies) if not q.check(reply)]
                    with self.subTest(category=category):
                        self.assertGreaterEqual(1 - len(wrong) / len(asked), NEEDED, wrong)


if __name__ == "__main__":
    ARGUMENTS.update(zip(["binary", "model", "protos", "google_protos"], sys.argv[1:5], strict=True))
    sys.path.insert(0, os.path.dirname(os.path.abspath(ARGUMENTS["model"])))
    unittest.main(argv=[sys.argv[0], *sys.argv[5:]], verbosity=2)
