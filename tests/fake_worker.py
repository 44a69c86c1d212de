"""A worker process without a model: `python -m tests.fake_worker ADDRESS`, the real protocol.

It answers at once. "hold" is never answered, "crash" ends the process, and a model whose path has
"bad" in it cannot be loaded.
"""

import os
import sys
import threading

import zmq

from models.types import GenerateDelta, GenerateEnd, TextPrompt, Usage
from models.worker import messages


def main() -> None:
    threading.Thread(target=_end_with_gateway, daemon=True).start()
    socket: zmq.Socket[bytes] = zmq.Socket(zmq.Context(), zmq.PAIR)
    socket.connect(sys.argv[1])

    def send(message: messages.FromWorker) -> None:
        socket.send(messages.encode(message))

    while True:
        match messages.decode_to_worker(socket.recv()):
            case messages.Load(spec=spec):
                if "bad" in spec.path:
                    send(messages.LoadFailure("it is bad"))
                    break
                send(messages.Ready(128, None))
            case messages.Generate(id=asked, request=request):
                assert isinstance(request.prompt, TextPrompt)
                if request.prompt.text == "crash":
                    os._exit(1)
                if request.prompt.text != "hold":
                    end = GenerateEnd("stop", Usage(1, 1))
                    send(messages.Step(((asked, GenerateDelta("ok", end)),), 0, 0))
            case messages.Tokenize(id=asked):
                send(messages.Tokens(asked, (1, 2)))
            case messages.Shutdown():
                break
            case _:
                pass
    socket.close()


def _end_with_gateway() -> None:
    while os.read(0, 1024):
        pass
    os._exit(0)


if __name__ == "__main__":
    main()
