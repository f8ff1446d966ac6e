"""What a call costs this side of the line, beside the bare client with so many threads.

Processor time of this process against a server in another that answers at once, 64 calls under
way; the best of three tries each, one after the other by turns. Ours took 1.1 to 1.3 ms a call
and the bare client 1.9 to 2.1, since it checks and converts what goes in and comes out.
"""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest

from baselines.llm.model import Chat, Message
from baselines.llm.models.connect import model_of

pytestmark = [pytest.mark.benchmark, pytest.mark.timeout(600)]

CALLS = 1500
AT_ONCE = 64
TURNS = (Message("system", "You rank."), Message("user", "a title, another title " * 80))


async def answer_at_once() -> None:
    """Serves until it is ended; says at which port."""
    message = {"role": "assistant", "content": '{"ranking": [3, 1, 2, 4, 5, 6, 7, 8, 9, 10]}'}
    choice = {"index": 0, "message": message, "finish_reason": "stop"}
    usage = {"prompt_tokens": 400, "completion_tokens": 20, "total_tokens": 420}
    body = json.dumps({"model": "m", "choices": [choice], "usage": usage}).encode()
    head = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n"

    async def converse(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while True:
                lines = (await reader.readuntil(b"\r\n\r\n")).lower().split(b"\r\n")
                sizes = [line for line in lines if line.startswith(b"content-length:")]
                await reader.readexactly(int(sizes[0].split(b":")[1]) if sizes else 0)
                writer.write(head % len(body) + body)
                await writer.drain()
        except (asyncio.IncompleteReadError, ConnectionError):
            writer.close()

    server = await asyncio.start_server(converse, "127.0.0.1", 0)
    print(server.sockets[0].getsockname()[1], flush=True)
    await server.serve_forever()


@pytest.fixture(scope="module")
def url() -> Iterator[str]:
    with subprocess.Popen([sys.executable, __file__], stdout=subprocess.PIPE, text=True) as server:
        yield f"http://127.0.0.1:{int(server.stdout.readline())}/v1"
        server.terminate()


def cpu(work: Callable[[], int]) -> float:
    """Milliseconds a call."""
    start = time.process_time()
    assert work() == CALLS
    return 1000 * (time.process_time() - start) / CALLS


def test_a_call_costs_less_than_with_the_bare_client(benchmark, url, monkeypatch) -> None:
    from openai import OpenAI

    monkeypatch.setenv("OPENAI_API_KEY", "none")
    client = OpenAI(base_url=url)
    model = model_of({"kind": "openai", "model": "m", "base_url": url, "concurrency": AT_ONCE})
    turns = [{"role": turn.role, "content": turn.content} for turn in TURNS]

    def bare() -> int:
        with ThreadPoolExecutor(AT_ONCE) as pool:
            asked = [
                pool.submit(client.chat.completions.create, model="m", messages=turns)
                for _ in range(CALLS)
            ]
            return sum(bool(one.result().choices[0].message.content) for one in asked)

    def ours() -> int:
        calls = [Chat(TURNS)] * CALLS
        return sum(bool(answer.text) for _, answer in model.answers(calls))

    def by_turns() -> list[tuple[float, float]]:
        return [(cpu(bare), cpu(ours)) for _ in range(3)]

    tries = benchmark.pedantic(by_turns, rounds=1)
    theirs, mine = (min(found[side] for found in tries) for side in (0, 1))
    benchmark.extra_info.update(
        milliseconds_a_call=round(mine, 3),
        bare_milliseconds_a_call=round(theirs, 3),
        ratio=round(mine / theirs, 3),
    )
    assert mine < theirs


if __name__ == "__main__":
    asyncio.run(answer_at_once())
