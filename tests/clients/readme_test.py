"""What README.md shows, run as it stands there against a running server; skipped, by name, where its tool is not installed.

    readme_test.py CLIENT_BINARY SERVER_BINARY MODEL_DIR REPOSITORY
"""

import os
import pathlib
import re
import shlex
import shutil
import signal
import subprocess
import sys
import tempfile
import unittest
import urllib.request

import running_server

TIMEOUT = 600
ARGUMENTS = {}
README_ADDRESS = "127.0.0.1:50051"


def setUpModule():
    ARGUMENTS["readme"] = (ARGUMENTS["repository"] / "README.md").read_text(encoding="utf-8")
    ARGUMENTS["server"] = running_server.RunningServer(ARGUMENTS["server_binary"], ARGUMENTS["model"])


def tearDownModule():
    ARGUMENTS["server"].stop()


def snippet(language):
    """The one block of that language, with this server's address."""
    blocks = re.findall(rf"^```{language}\n(.*?)^```$", ARGUMENTS["readme"], re.MULTILINE | re.DOTALL)
    if len(blocks) != 1 or README_ADDRESS not in blocks[0]:
        raise AssertionError(f"{len(blocks)} blocks of {language}, the first with {README_ADDRESS} is expected to be the only one")
    return blocks[0].replace(README_ADDRESS, ARGUMENTS["server"].address)


def commands(program):
    """The lines of README's console blocks that run `program`, as words."""
    blocks = re.findall(r"^```console\n(.*?)^```$", ARGUMENTS["readme"], re.MULTILINE | re.DOTALL)
    lines = [line for block in blocks for line in block.replace("\\\n", " ").splitlines()]
    found = [shlex.split(line.removeprefix("$ ")) for line in lines if line.startswith(f"$ {program} ")]
    if not found:
        raise AssertionError(f"README shows no command of {program}")
    return [[word.replace(README_ADDRESS, ARGUMENTS["server"].address) for word in words] for words in found]


def run(command, cwd=None, text=None, **environment):
    done = subprocess.run([str(word) for word in command], cwd=cwd, input=text, capture_output=True, text=True, timeout=TIMEOUT,
                          env={**os.environ, "LOCKSTEP_TARGET": ARGUMENTS["server"].address, **environment})  # fmt: skip
    if done.returncode != 0:
        raise AssertionError(f"{command} failed with status {done.returncode}: {done.stdout}{done.stderr}")
    return done.stdout


def generate(*arguments):
    return run([ARGUMENTS["client"], "generate", *arguments]).rstrip("\n")


class ReadmeTest(unittest.TestCase):
    def setUp(self):
        directory = tempfile.TemporaryDirectory()
        self.addCleanup(directory.cleanup)
        self.directory = pathlib.Path(directory.name)
        (self.directory / "proto").symlink_to(ARGUMENTS["repository"] / "proto")

    def require(self, *programs):
        for program in programs:
            if shutil.which(program) is None:
                self.skipTest(f"{program} is not installed")

    def protos(self):
        return sorted(str(path.relative_to(self.directory)) for path in (self.directory / "proto/lockstep/v1").glob("*.proto"))

    def test_python(self):
        run([sys.executable, "-m", "grpc_tools.protoc", "-I", "proto", "--python_out=.", "--grpc_python_out=.", *self.protos()], cwd=self.directory)
        (self.directory / "client.py").write_text(snippet("python"), encoding="utf-8")
        answer = run([sys.executable, "client.py"], cwd=self.directory)
        self.assertEqual(answer.strip(), generate("--chat", "What is 27 + 48?", "--temperature", "0"))

    def test_go(self):
        self.require("go", "protoc", "protoc-gen-go", "protoc-gen-go-grpc")
        # Modules that were downloaded before, and no others.
        cache = subprocess.run(["go", "env", "GOMODCACHE"], capture_output=True, text=True, timeout=TIMEOUT, check=True).stdout.strip()
        offline = {"GOPROXY": f"file://{cache}/cache/download", "GOSUMDB": "off", "GOFLAGS": "-mod=mod", "GOTOOLCHAIN": "local"}
        run(["go", "mod", "init", "hello"], cwd=self.directory, **offline)
        for module in ("google.golang.org/grpc", "google.golang.org/protobuf"):
            known = subprocess.run(["go", "list", "-m", f"{module}@latest"], cwd=self.directory, capture_output=True, timeout=TIMEOUT,
                                   env={**os.environ, **offline})  # fmt: skip
            if known.returncode != 0:
                self.skipTest(f"the Go module {module} has not been downloaded")
        (self.directory / "main.go").write_text(snippet("go"), encoding="utf-8")
        run(["protoc", "-I", "proto", "--go_out=.", "--go-grpc_out=.", *self.protos()], cwd=self.directory)
        try:
            run(["go", "mod", "tidy"], cwd=self.directory, **offline)
        except AssertionError as error:
            self.skipTest(f"not all modules have been downloaded: {error}")
        self.assertEqual(run(["go", "run", "."], cwd=self.directory, **offline), generate("Once upon a time", "-n", "64"))

    def test_node(self):
        self.require("node")
        for module in ("@grpc/grpc-js", "@grpc/proto-loader"):
            found = subprocess.run(["node", "-e", f"require.resolve('{module}')"], cwd=self.directory, capture_output=True, timeout=TIMEOUT)
            if found.returncode != 0:
                self.skipTest(f"{module} is not installed where NODE_PATH says")
        (self.directory / "client.js").write_text(snippet("js"), encoding="utf-8")
        self.assertEqual(run(["node", "client.js"], cwd=self.directory), generate("Once upon a time", "-n", "64"))

    def test_grpcurl(self):
        self.require("grpcurl")
        answers = [run(command) for command in commands("grpcurl")]
        self.assertIn('"finished"', answers[0])
        self.assertIn('"status": "SERVING"', answers[1])

    def test_metrics_are_as_prometheus_wants_them(self):
        self.require("promtool")
        generate("Once upon a time", "-n", "4")
        with urllib.request.urlopen(f"http://{ARGUMENTS['server'].metrics_address}/metrics", timeout=TIMEOUT) as response:
            run(["promtool", "check", "metrics"], text=response.read().decode("utf-8"))

    def test_the_command_line_client(self):
        for program, *arguments in commands("build/release/bin/lockstep"):
            with self.subTest(arguments=arguments):
                if "--watch" in arguments:
                    self.watch(arguments)
                    continue
                # As shown, but not at the pace that it is shown with.
                arguments = ["4000" if before == "--request-rate" else word for before, word in zip([program, *arguments], arguments)]
                output = run([ARGUMENTS["client"], *arguments], cwd=self.directory, text="What is 27 + 48?\n")
                self.assertTrue(output.strip())
        self.assertIn("<svg", (self.directory / "latencies.svg").read_text(encoding="utf-8"))

    def watch(self, arguments):
        process = subprocess.Popen([ARGUMENTS["client"], *arguments], stdout=subprocess.PIPE, text=True,
                                   env={**os.environ, "LOCKSTEP_TARGET": ARGUMENTS["server"].address})  # fmt: skip
        self.assertIn("ready", process.stdout.readline())
        process.send_signal(signal.SIGINT)
        process.communicate(timeout=TIMEOUT)
        self.assertEqual(process.returncode, 0)


if __name__ == "__main__":
    ARGUMENTS.update(zip(["client", "server_binary", "model"], sys.argv[1:4], strict=True), repository=pathlib.Path(sys.argv[4]))
    unittest.main(argv=[sys.argv[0], *sys.argv[5:]], verbosity=2)
