"""The worker process's reading of its socket, with a loop made of lists and a clock by hand."""

from typing import Any
from unittest import mock

import pytest

from models.errors import InvalidRequest
from models.types import GenerateRequest, TextPrompt
from models.worker import main, messages
from models.worker.main import RECEIVE_S, Worker

REQUEST = GenerateRequest(TextPrompt("x"))


class Clock:
    def __init__(self) -> None:
        self.now = 0.0

    def monotonic(self) -> float:
        return self.now


class Loop:
    """Says what is done in which order; to take a request takes the clock `takes_s`."""

    context, dimension = 8, None

    def __init__(self, clock: Clock, takes_s: float, *, streaming: bool) -> None:
        self.busy = streaming
        self.done: list[int | str] = []
        self._clock = clock
        self._takes_s = takes_s

    def probe(self) -> None:
        """Nothing to try."""

    def generate(self, message: messages.Generate) -> None:
        self._clock.now += self._takes_s
        self.done.append(message.id)
        if message.id == 13:
            raise KeyError("thirteen")
        if message.id == 14:
            raise InvalidRequest("no fourteen", "n")

    def step(self) -> None:
        self.done.append("step")


class Socket:
    """All that the gateway sends lies there from the beginning."""

    def __init__(self, ids: list[int]) -> None:
        spec = messages.WorkerSpec(model="m", kind="chat", path="", threads=1)
        sent: list[messages.ToWorker] = [messages.Load(spec)]
        sent += [messages.Generate(number, REQUEST) for number in ids]
        self._frames = [messages.encode(message) for message in [*sent, messages.Shutdown()]]
        self.said: list[messages.FromWorker] = []

    def setsockopt(self, option: int, value: int) -> None: ...

    def set_hwm(self, value: int) -> None: ...

    def connect(self, address: str) -> None: ...

    def recv(self, flags: int = 0) -> bytes:
        return self._frames.pop(0)

    def send(self, frame: bytes) -> None:
        self.said.append(messages.decode_from_worker(frame))

    def close(self) -> None:
        assert self._frames == []


def serve(loop: Any, clock: Clock, ids: list[int]) -> list[messages.FromWorker]:
    """What a worker says that gets these requests at once."""
    socket = Socket(ids)
    with (
        mock.patch.object(main.time, "monotonic", clock.monotonic),
        mock.patch.object(main.zmq, "Context"),
        mock.patch.object(main.zmq, "Socket", return_value=socket),
    ):
        worker = Worker("ipc://nobody")
        worker._load = lambda spec: loop
        assert worker.run() == 0
    return socket.said


@pytest.mark.parametrize(
    ("takes_s", "streaming", "expected"),
    [
        (RECEIVE_S / 100, True, [1, 2, 3, 4]),
        (0.6 * RECEIVE_S, True, [1, 2, "step", 3, 4, "step"]),
        (10.0, True, [1, "step", 2, "step", 3, "step", 4, "step"]),
        (10.0, False, [1, 2, 3, 4]),  # nobody waits for a step
    ],
)
def test_large_requests_that_come_together_let_streams_step_between_them(
    takes_s: float, streaming: bool, expected: list[int | str]
) -> None:
    clock = Clock()
    loop = Loop(clock, takes_s, streaming=streaming)
    serve(loop, clock, [1, 2, 3, 4])
    assert loop.done == expected


def test_what_nobody_expected_of_one_request_fails_it_alone(
    capfd: pytest.CaptureFixture[str],
) -> None:
    loop = Loop(Clock(), 0.0, streaming=False)
    ready, unexpected, refused = serve(loop, Clock(), [13, 14, 15])
    assert loop.done == [13, 14, 15]
    assert isinstance(ready, messages.Ready)
    assert isinstance(unexpected, messages.Failed)
    assert (unexpected.id, unexpected.error) == (13, "ModelError")
    assert isinstance(refused, messages.Failed)
    assert (refused.id, refused.error, refused.param) == (14, "InvalidRequest", "n")
    log = capfd.readouterr().err
    assert "KeyError: 'thirteen'" in log
    assert "fourteen" not in log
