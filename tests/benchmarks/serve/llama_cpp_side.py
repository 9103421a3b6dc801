"""llama.cpp's own server, and a client of its streams."""

import asyncio
import json
import re
import socket
import subprocess
import time
import urllib.error
import urllib.request

from harness.children import BenchmarkError, Child
from options import REPOSITORY, max_length
from summary import summarize

CONVERTER = REPOSITORY / "tests/benchmarks/serve/gguf_checkpoint.py"


class LlamaCppSide:
    side = "llama.cpp"
    label = "llama.cpp, llama-server"

    def __init__(self, options, model, config, dtype="bfloat16"):
        self._options, self._model, self._dtype = options, model, dtype
        self._child = None
        self._server = options.llama_cpp / "build/bin/llama-server"
        name = "-".join(model.resolve().parts[-2:])
        self._gguf = REPOSITORY / "build/bench/gguf" / f"{name}-{dtype}.gguf"
        self._port = None
        places = max(options.concurrency)
        cache_type = ["-ctk", "f32", "-ctv", "f32"] if dtype == "float32" else []
        self.command = [
            self._server, "--model", self._gguf, "--threads", options.cores, "--threads-batch", options.cores, "--parallel", places,
            "--ctx-size", places * -(-max_length(options) // 32) * 32 + places * 32, "--cache-ram", 0, "--no-webui", *cache_type,
            "--host", "127.0.0.1", "--port",
        ]  # fmt: skip

    def start(self):
        unavailable = self._options.llama_cpp / "unavailable.txt"
        if not self._server.exists():
            raise BenchmarkError(unavailable.read_text(encoding="utf-8").strip() if unavailable.exists() else f"no {self._server}")
        self._convert()
        # The server cannot be asked for a free port: one that was free a moment ago.
        with socket.socket() as listener:
            listener.bind(("127.0.0.1", 0))
            self._port = listener.getsockname()[1]
        self._child = Child([*self.command, self._port], self._options.work_dir / "serve-llama.cpp.log")
        self.pids = [self._child.pid]
        self._await_health()
        version = subprocess.run([self._server, "--version"], capture_output=True, text=True, timeout=30)
        found = re.search(r"built with (.*)", version.stderr + version.stdout)
        package = (self._options.llama_cpp / "version.txt").read_text(encoding="utf-8").strip()
        self.version = f"llama.cpp of {package}, built here with {found.group(1) if found else 'an unknown compiler'}, GGML_NATIVE"

    def _convert(self):
        newest = max(path.stat().st_mtime for path in [CONVERTER, *self._model.glob("*.safetensors")])
        if self._gguf.exists() and self._gguf.stat().st_mtime > newest:
            return
        self._gguf.parent.mkdir(parents=True, exist_ok=True)
        command = [self._options.reference_python, CONVERTER, self._options.llama_cpp / "source/gguf-py", self._model, self._dtype, self._gguf]
        done = subprocess.run(list(map(str, command)), capture_output=True, text=True, timeout=self._options.run_seconds)
        if done.returncode != 0:
            raise BenchmarkError(f"the checkpoint could not be written as GGUF: {done.stderr[-2000:]}")

    def _await_health(self):
        end = time.monotonic() + self._options.start_seconds
        while time.monotonic() < end:
            self._child.check_alive()
            try:
                with urllib.request.urlopen(f"http://127.0.0.1:{self._port}/health", timeout=5):
                    return
            except (urllib.error.URLError, ConnectionError, TimeoutError):
                time.sleep(0.1)  # it has no other way to say that it is ready
        raise BenchmarkError(f"llama-server was not ready within {self._options.start_seconds} s; its log ends:\n{self._child.log_tail()}")

    def _run(self, requests, concurrency):
        try:
            return asyncio.run(asyncio.wait_for(StreamLoad(self._port, requests, concurrency).run(), self._options.run_seconds))
        except (OSError, asyncio.IncompleteReadError, TimeoutError) as error:
            self._child.check_alive()
            raise BenchmarkError(f"llama-server: {type(error).__name__} {error}; its log ends:\n{self._child.log_tail()}") from None

    def run(self, requests, concurrency):
        before = time.process_time()
        answers, seconds = self._run(requests, concurrency)
        return {**summarize(answers, seconds), "client_cpu_seconds": time.process_time() - before}

    def greedy(self, requests):
        return [answer["token_ids"] for answer in self._run(requests, len(requests))[0]]

    def stop(self):
        if self._child:
            self._child.stop()


class StreamLoad:
    """Sends each request at its time, or when a place is free where the concurrency is limited."""

    def __init__(self, port, requests, concurrency):
        self._port, self._requests = port, requests
        self._limited = concurrency is not None and concurrency < len(requests)
        self._places = asyncio.Semaphore(concurrency or len(requests))
        self._answers = [{"intended": None, "arrivals": [], "token_ids": []} for _ in requests]

    async def run(self):
        self._began = time.perf_counter()
        tasks = []
        for request, answer in zip(self._requests, self._answers):
            await asyncio.sleep(max(0.0, request["timestamp"] - self._now()))
            await self._places.acquire()
            answer["intended"] = self._now() if self._limited else request["timestamp"]
            tasks.append(asyncio.create_task(self._ask(request, answer)))
        await asyncio.gather(*tasks)
        return self._answers, self._now()

    def _now(self):
        return time.perf_counter() - self._began

    async def _ask(self, request, answer):
        body = json.dumps({
            "prompt": request["token_ids"], "n_predict": request["output_length"], "stream": True, "temperature": 0,
            "return_tokens": True, "cache_prompt": False,
        }).encode()  # fmt: skip
        reader, writer = await asyncio.open_connection("127.0.0.1", self._port, limit=1 << 20)
        writer.write(
            b"POST /completion HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n"
            % len(body) + body
        )
        try:
            head = await reader.readuntil(b"\r\n\r\n")
            if not head.startswith(b"HTTP/1.1 200"):
                raise BenchmarkError(f"llama-server answered {head.decode()}{(await reader.read(2000)).decode()}")
            await self._read_events(reader, answer)
        finally:
            writer.close()
            self._places.release()
        if len(answer["token_ids"]) != request["output_length"]:
            raise BenchmarkError(f"llama-server gave {len(answer['token_ids'])} tokens, {request['output_length']} were asked for")

    async def _read_events(self, reader, answer):
        """Server-sent events in chunks (RFC 9112, 7.1); an event may span chunks."""
        pending = b""
        while (size := int(await reader.readline(), 16)) > 0:
            pending += (await reader.readexactly(size + 2))[:-2]
            now = self._now()
            *events, pending = pending.split(b"\n\n")
            for event in events:
                if not event.startswith(b"data: {"):
                    raise BenchmarkError(f"llama-server sent {event[:500].decode()}")
                tokens = json.loads(event[6:]).get("tokens", [])
                answer["token_ids"] += tokens
                answer["arrivals"] += [now] * len(tokens)
