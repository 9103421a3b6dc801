"""The command-line client against a running server, as a person or a script uses it.

    cli_test.py CLIENT_BINARY SERVER_BINARY MODEL_DIR
"""

import base64
import contextlib
import json
import os
import shutil
import signal
import socket
import struct
import subprocess
import sys
import tempfile
import time
import unittest

import running_server
from silent_proxy import SilentProxy
from terminal import TIMEOUT, Terminal

ARGUMENTS = {}


# Privileged, and nobody's: what dials it is refused.
NOBODY = "127.0.0.1:1"


def setUpModule():
    ARGUMENTS["dir"] = tempfile.mkdtemp()
    ARGUMENTS["model"] = running_server.with_long_context(ARGUMENTS["model"], ARGUMENTS["dir"])
    ARGUMENTS["server"] = start_server()


def tearDownModule():
    ARGUMENTS["server"].stop()
    shutil.rmtree(ARGUMENTS["dir"])


def start_server(**options):
    return running_server.RunningServer(ARGUMENTS["server_binary"], ARGUMENTS["model"], "--kv-cache-memory", "512MiB",
                                        **options)


@contextlib.contextmanager
def reserved_port():
    """A port that refuses connections until a server of ours listens on it, and that nobody else is given meanwhile."""
    with socket.socket() as holder:
        # Bound and not listening: with this option a listener may join, and the system gives the port to no one.
        holder.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        holder.bind(("127.0.0.1", 0))
        yield holder.getsockname()[1]


def lockstep(*arguments, target=None, text=None):
    target = target or ARGUMENTS["server"].address
    return subprocess.run([ARGUMENTS["client"], "--target", target, *arguments], input=text, capture_output=True,
                          text=True, timeout=TIMEOUT)


def request_records(count=0):
    """What the server has logged about requests: of the first `count`, waiting for them; without it, of all so far."""
    text = '"event"'
    lines = ARGUMENTS["server"].wait_for_log(text, count) if count else ARGUMENTS["server"].log().splitlines()
    return [json.loads(line[line.index("{"):]) for line in lines if text in line]


def wait_until_running(num_requests):
    deadline = time.monotonic() + TIMEOUT
    while (running := json.loads(lockstep("--json", "status").stdout)["server"]["num_running"]) != num_requests:
        if time.monotonic() > deadline:
            raise AssertionError(f"{running} requests are running, not {num_requests}")


class CliTest(unittest.TestCase):
    def test_generate_prints_the_answer_and_nothing_else(self):
        done = lockstep("generate", "--chat", "What is 12 + 34?", "--temperature", "0")
        self.assertEqual((done.returncode, done.stderr), (0, ""))
        whole = lockstep("generate", "--chat", "--no-stream", "What is 12 + 34?", "--temperature", "0")
        self.assertEqual(done.stdout, whole.stdout)
        self.assertGreater(len(done.stdout), 5)

    def test_generate_prints_every_one_of_several_answers(self):
        options = ["--max-new-tokens", "4", "--temperature", "0"]
        one = lockstep("generate", "Once upon a time", *options)
        done = lockstep("generate", "Once upon a time", *options, "--num-sequences", "3")
        self.assertEqual(done.returncode, 0, done.stderr)
        self.assertEqual(done.stdout, "".join(f"[{index}] {one.stdout}" for index in range(3)))

    def test_statistics_are_shown_however_the_answer_comes(self):
        for options, reasons in [([], "LENGTH"), (["--no-stream"], "LENGTH"), (["--json"], "LENGTH"),
                                 (["--num-sequences", "2"], "LENGTH, LENGTH"), (["--json", "--num-sequences", "2"], "LENGTH, LENGTH")]:
            done = lockstep("generate", "Once upon a time", "-n", "4", "--ignore-eos", "--stats", *options)
            num_tokens = 4 * len(reasons.split(", "))
            self.assertRegex(done.stderr, rf"^{num_tokens} tokens · [\d.]+ tok/s · .* · ended by {reasons}\n$", options)

    def test_ctrl_c_ends_an_answer_without_an_error_however_it_comes(self):
        for options in [[], ["--no-stream"], ["--json"], ["--json", "--no-stream"]]:
            wait_until_running(0)
            process = subprocess.Popen([ARGUMENTS["client"], "--target", ARGUMENTS["server"].address, "generate", "x", "--ignore-eos",
                                        *options], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
            wait_until_running(1)
            process.send_signal(signal.SIGINT)
            output, error = process.communicate(timeout=TIMEOUT)
            self.assertEqual((process.returncode, error), (130, ""), options)
            self.assertNotIn("error", output)

    def test_generate_reads_the_prompt_from_standard_input(self):
        given = lockstep("generate", "Once upon", "-n", "8", "--temperature", "0")
        piped = lockstep("generate", "-", "-n", "8", "--temperature", "0", text="Once upon")
        self.assertEqual(given.stdout, piped.stdout)

    def test_json_events_concatenate_to_the_answer(self):
        arguments = ["generate", "--chat", "What is 12 + 34?", "--temperature", "0"]
        plain = lockstep(*arguments)
        events = [json.loads(line) for line in lockstep("--json", *arguments).stdout.splitlines()]
        self.assertIn("started", events[0])
        self.assertEqual(events[-1]["finished"]["reason"], "EOS")
        self.assertEqual("".join(event.get("delta", {}).get("text", "") for event in events), plain.stdout.rstrip("\n"))

    def test_tokenize_gives_ids_that_generate_takes(self):
        ids = json.loads(lockstep("--json", "tokenize", "Once upon a time").stdout)["token_ids"]
        by_ids = lockstep("generate", "--token-ids", ",".join(map(str, ids)), "-n", "8", "--temperature", "0")
        by_text = lockstep("generate", "Once upon a time", "-n", "8", "--temperature", "0")
        self.assertEqual(by_ids.stdout, by_text.stdout)
        without_first = json.loads(lockstep("--json", "tokenize", "Once upon a time", "--no-special-tokens").stdout)["token_ids"]
        self.assertEqual(without_first, ids[1:])

    def test_the_chat_template_gets_the_system_message_and_further_variables(self):
        options = ["--chat", "--system", "Be brief.", "--template-variables", '{"bos_token": "[B]"}']
        text = json.loads(lockstep("--json", "tokenize", "Hi", *options).stdout)["text"]
        self.assertRegex(text, r"(?s)^\[B\].*system.*Be brief\..*user.*Hi.*assistant")
        self.assertEqual(lockstep("generate", "Hi", *options, "-n", "4").returncode, 0)
        refused = lockstep("generate", "Hi", "--chat", "--template-variables", "[1]")
        self.assertIn("chat.template_variables_json", refused.stderr)
        self.assertEqual(lockstep("tokenize", "Hi", "--system", "x").returncode, 2)

    def test_forward_gives_logits_whose_best_token_is_what_generate_chooses(self):
        output = json.loads(lockstep("--json", "forward", "1,2,3").stdout)["outputs"][0]
        data = base64.b64decode(output["logits"])
        logits = struct.unpack(f"<{len(data) // 4}f", data)
        self.assertEqual([int(size) for size in output["shape"]], [1, len(logits)])
        rows = json.loads(lockstep("--json", "forward", "1,2,3", "--all-positions").stdout)["outputs"][0]
        self.assertEqual([int(size) for size in rows["shape"]], [3, len(logits)])
        done = lockstep("--json", "generate", "--token-ids", "1,2,3", "-n", "1", "--temperature", "0", "--ignore-eos")
        deltas = [event["delta"] for event in map(json.loads, done.stdout.splitlines()) if "delta" in event]
        self.assertEqual([id for delta in deltas for id in delta["token_ids"]], [logits.index(max(logits))])

    def test_status_shows_model_and_every_rank(self):
        text = lockstep("status").stdout
        for word in ["LlamaForCausalLM", "rank 0", "rank 1", "kv cache", "ready"]:
            self.assertIn(word, text)
        self.assertEqual(json.loads(lockstep("--json", "status").stdout)["server"]["state"], "POOL_STATE_READY")

    def test_an_error_names_the_field_and_the_exit_code_is_1(self):
        done = lockstep("generate", "x", "--top-p", "1.5")
        self.assertEqual(done.returncode, 1)
        self.assertIn("INVALID_ARGUMENT", done.stderr)
        self.assertIn("top_p", done.stderr)
        self.assertIn("1.5", done.stderr)

    def test_a_prompt_that_is_not_utf8_is_said_once(self):
        done = subprocess.run([ARGUMENTS["client"], "--target", ARGUMENTS["server"].address, "generate", "-"], input=b"\xff",
                              capture_output=True, timeout=TIMEOUT)
        self.assertEqual(done.returncode, 1)
        self.assertIn(b"text: is not valid UTF-8 at byte 0", done.stderr)
        self.assertNotIn(b"libprotobuf", done.stderr)

    def test_a_wrong_command_line_exits_with_2_and_names_what_is_wrong(self):
        for arguments, word in [(["generate", "x", "--temprature", "1"], "temprature"), (["sing"], "sing"), ([], "generate"),
                                (["generate"], "prompt"), (["forward", "1,x"], "1,x")]:
            done = lockstep(*arguments)
            self.assertEqual(done.returncode, 2, arguments)
            self.assertIn(word, done.stdout + done.stderr)

    def test_a_server_that_is_not_there_is_said_at_once_with_what_to_do(self):
        done = lockstep("generate", "x", target=NOBODY)
        self.assertEqual(done.returncode, 1)
        self.assertIn("lockstep-server --model", done.stderr)

    def test_output_that_cannot_be_written_is_an_error(self):
        for arguments in [["generate", "x", "-n", "2"], ["--help"], ["generate", "--help"], ["--version"]]:
            with open("/dev/full", "wb") as full:
                done = subprocess.run([ARGUMENTS["client"], "--target", ARGUMENTS["server"].address, *arguments], stdout=full,
                                      stderr=subprocess.PIPE, text=True, timeout=TIMEOUT)
            self.assertEqual(done.returncode, 1, arguments)
            self.assertIn("standard output", done.stderr)

    def test_output_that_nobody_reads_any_more_ends_what_goes_on_by_itself(self):
        num_before = len(request_records())
        for arguments, text in [(["status", "--watch", "--interval", "0.1"], None), (["generate", "x", "--ignore-eos"], None),
                                (["chat", "--ignore-eos"], "x\nx\n")]:
            read_end, write_end = os.pipe()
            os.close(read_end)
            with os.fdopen(write_end, "wb") as pipe:
                # As Python's own: SIGPIPE stays ignored.
                done = subprocess.run([ARGUMENTS["client"], "--target", ARGUMENTS["server"].address, *arguments], input=text,
                                      stdout=pipe, stderr=subprocess.PIPE, text=True, timeout=TIMEOUT, restore_signals=False)
            self.assertEqual((done.returncode, done.stderr), (1, "error: standard output cannot be written\n"), arguments)
        self.assertEqual([record["status"] for record in request_records(num_before + 2)[num_before:]], ["CANCELLED", "CANCELLED"])

    def test_a_server_that_goes_silent_in_an_answer_is_given_up(self):
        with SilentProxy(ARGUMENTS["server"].address) as proxy:
            client = subprocess.Popen([ARGUMENTS["client"], "--target", proxy.address, "generate", "x", "--ignore-eos"],
                                      stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
            self.assertTrue(client.stdout.read(1), "the answer has begun")
            proxy.go_silent()
            _, error = client.communicate(timeout=TIMEOUT)
        self.assertEqual(client.returncode, 1)
        self.assertIn(f"error: the server at {proxy.address} does not answer any more", error)

    def test_chat_remembers_the_conversation(self):
        lines = "What is 12 + 34?\nWhat is the opposite of hot?\n"
        num_before = len(request_records())
        done = lockstep("chat", "--temperature", "0", text=lines)
        self.assertEqual(done.returncode, 0, done.stderr)
        answers = done.stdout.splitlines()
        self.assertEqual(len(answers), 2)
        first, second = request_records(num_before + 2)[-2:]
        self.assertGreater(second["prompt_tokens"], first["prompt_tokens"], "the second turn's prompt holds the first turn")

    def test_chat_refuses_what_a_conversation_cannot_carry_out(self):
        for arguments, reason in [(["--echo"], "a part of the answer"), (["--keep-special-tokens"], "once more"),
                                  (["--num-sequences", "2"], "one answer")]:
            done = lockstep("chat", *arguments, text="What is 12 + 34?\n")
            self.assertEqual((done.returncode, done.stdout), (2, ""), arguments)
            self.assertRegex(done.stderr, f"^{arguments[0]}: .*{reason}.* generate --chat")

    def test_ctrl_c_ends_the_answer_and_not_the_session(self):
        chat = Terminal(ARGUMENTS["client"], "--target", ARGUMENTS["server"].address, "chat", "--ignore-eos",
                        "--temperature", "0")
        chat.expect(r"\n> ")
        chat.type("Tell me a short story about a fox.\n")
        chat.expect(r"fox\.\r\n")  # the terminal's echo of what was typed
        chat.expect(r"\w+ \w+ \w+ \w+")  # the answer is coming
        chat.type("\x03")
        chat.expect(r"\(stopped\)")
        chat.expect(r"> ")
        chat.type("/exit\n")
        self.assertEqual(chat.exit_code(), 0)

    def test_ctrl_c_at_the_prompt_drops_the_line_and_keeps_the_conversation(self):
        chat = Terminal(ARGUMENTS["client"], "--target", ARGUMENTS["server"].address, "chat", "--temperature", "0")
        chat.expect(r"\n> ")
        for _ in range(2):
            chat.type("half a sentence\x03")
            chat.expect(r"\(Ctrl-D or /exit leaves\)")
            chat.expect(r"\n> ")
        chat.type("What is 12 + 34?\n")
        chat.expect("46")
        chat.expect(r"\n> ")
        chat.type("/exit\n")
        self.assertEqual(chat.exit_code(), 0)

    def test_ctrl_c_ends_a_chat_that_nobody_types(self):
        chat = subprocess.Popen([ARGUMENTS["client"], "--target", ARGUMENTS["server"].address, "chat", "--ignore-eos", "--temperature", "0"],
                                stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        chat.stdin.write(b"Tell me a short story about a fox.\nWhat is 12 + 34?\n")
        chat.stdin.flush()
        self.assertTrue(chat.stdout.read(1), "the answer has begun")
        chat.send_signal(signal.SIGINT)
        _, error = chat.communicate(timeout=TIMEOUT)
        self.assertEqual(chat.returncode, 130)
        self.assertIn(b"(stopped)", error)

    def test_sigterm_ends_a_chat_at_its_prompt(self):
        chat = Terminal(ARGUMENTS["client"], "--target", ARGUMENTS["server"].address, "chat")
        chat.expect(r"\n> ")
        chat.send_signal(signal.SIGTERM)
        self.assertEqual(chat.exit_code(), 130)

    def test_sigterm_ends_a_chat_in_its_answer(self):
        chat = Terminal(ARGUMENTS["client"], "--target", ARGUMENTS["server"].address, "chat", "--ignore-eos", "--temperature", "0")
        chat.expect(r"\n> ")
        chat.type("Tell me a short story about a fox.\n")
        chat.expect(r"fox\.\r\n")
        chat.expect(r"\w+ \w+ \w+ \w+")
        chat.send_signal(signal.SIGTERM)
        self.assertEqual(chat.exit_code(), 130)

    def test_waiting_shows_progress_until_the_server_is_ready(self):
        with reserved_port() as port:
            listen = f"127.0.0.1:{port}"
            client = Terminal(ARGUMENTS["client"], "--target", listen, "--wait", "600", "generate", "--chat",
                              "What is 12 + 34?", "--temperature", "0")
            client.expect("waiting for a server")
            with start_server(listen=listen):
                self.assertEqual(client.exit_code(), 0)

    def test_status_and_tokenize_wait_for_a_server_that_is_not_there_yet(self):
        with reserved_port() as port, contextlib.ExitStack() as stack:
            listen = f"127.0.0.1:{port}"
            clients = [stack.enter_context(subprocess.Popen([ARGUMENTS["client"], "--target", listen, "--wait", "600", *arguments],
                                                            stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True))
                       for arguments in [["status"], ["tokenize", "Once"]]]
            for client in clients:
                self.assertEqual(client.stderr.readline(), f"waiting for a server at {listen}\n")
            with start_server(listen=listen):
                for client, word in zip(clients, ["LlamaForCausalLM", "tokens"], strict=True):
                    output, error = client.communicate(timeout=TIMEOUT)
                    self.assertEqual((client.returncode, error), (0, ""))
                    self.assertIn(word, output)

    def test_status_and_tokenize_wait_no_longer_than_they_are_told(self):
        for arguments in [["status"], ["tokenize", "Once"]]:
            done = lockstep("--wait", "0.3", *arguments, target=NOBODY)
            self.assertEqual(done.returncode, 1)
            self.assertIn("no Lockstep server answers", done.stderr)

    def test_a_line_of_progress_is_cut_to_the_terminals_width(self):
        client = Terminal(ARGUMENTS["client"], "--target", NOBODY, "--wait", "600", "generate", "x", columns=20)
        erase = r"\r\x1b\[K"
        shown = client.expect(f"{erase}(waiting.*?){erase}").group(1)
        self.assertEqual(shown, f"waiting for a server at {NOBODY}"[:19])
        client.send_signal(signal.SIGINT)
        self.assertEqual(client.exit_code(), 130)

    def test_a_benchmarks_line_of_progress_is_cut_to_the_terminals_width(self):
        client = Terminal(ARGUMENTS["client"], "--target", ARGUMENTS["server"].address, "bench", "serve", "--num-prompts", "4",
                          "--random-input-len", "8", "--random-output-len", "8", columns=24)
        erase = r"\r\x1b\[K"
        shown = client.expect(f"{erase}(.*? done.*?){erase}").group(1)
        self.assertRegex(shown, r"^\d of 4 done, \d under")
        self.assertEqual(len(shown), 23)
        self.assertEqual(client.exit_code(), 0)

    def test_waiting_without_a_terminal_is_said_once(self):
        done = lockstep("--wait", "0.5", "generate", "x", target=NOBODY)
        self.assertEqual(done.returncode, 1)
        self.assertEqual(done.stderr.count("waiting for a server"), 1)

    def test_the_timeout_holds_for_a_server_that_does_not_answer(self):
        with socket.create_server(("127.0.0.1", 0)) as silent:
            target = f"127.0.0.1:{silent.getsockname()[1]}"
            begin = time.monotonic()
            done = lockstep("--timeout", "0.5", "generate", "x", target=target)
            self.assertLess(time.monotonic() - begin, 4, "one look's own limit is 5 s")
        self.assertEqual(done.returncode, 1)
        self.assertRegex(done.stderr, rf"{target} has not answered within 0.5\d* s: .* --timeout")


if __name__ == "__main__":
    ARGUMENTS.update(zip(["client", "server_binary", "model"], sys.argv[1:4], strict=True))
    unittest.main(argv=[sys.argv[0], *sys.argv[4:]], verbosity=2)
