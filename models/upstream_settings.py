"""How a model of another server is reached: the table `[upstream]` of configs/models/NAME.toml."""

from typing import Annotated, Literal

from msgspec import Meta, Struct, field

__all__ = ["Server", "UpstreamSettings"]

Server = Literal["openai", "openrouter", "vllm", "llama-server", "jurat"]
Seconds = Annotated[float, Meta(gt=0, le=7 * 86_400)]
Cost = Annotated[float, Meta(ge=0, le=1e6)]
Command = list[Annotated[str, Meta(min_length=1)]]
Text = Annotated[str, Meta(pattern=r"^[ -~]*$")]  # what a header can hold
# Headers that carry secrets: those stand in the environment, not in a file.
SECRET = {"authorization", "proxy-authorization", "cookie", "api-key", "x-api-key"}


class UpstreamSettings(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """An OpenAI-compatible server. Its URL is the model's source, `upstream:http://HOST:PORT/v1`.

    `start`, `ready` and `stop` are commands, each a program and its arguments, run without a
    shell: the first request runs `start` and waits until `ready` says yes; after `idle_timeout_s`
    without requests, and at the end, `stop` is run.
    """

    model: str = ""  # its name over there; empty: its id here
    server: Server = "openai"  # which parameters beside OpenAI's it knows
    # The environment variable that holds the key; NAME_FILE, if set, names a file that does.
    api_key_env: Annotated[str, Meta(pattern="^[A-Za-z_][A-Za-z0-9_]*$")] | None = None
    headers: dict[Annotated[str, Meta(pattern="^[A-Za-z0-9-]+$")], Text] = field(
        default_factory=dict[str, str]
    )
    connect_timeout_s: Seconds = 10.0
    first_token_timeout_s: Seconds = 120.0  # from the request to the first piece of the answer
    timeout_s: Seconds = 600.0  # for a whole request, repetitions included
    retries: Annotated[int, Meta(ge=0, le=10)] = 2  # before the first piece of the answer only
    breaker_failures: Annotated[int, Meta(ge=1, le=10_000)] = (
        5  # in a row; then nobody asks it for a while:
    )
    breaker_cooldown_s: Seconds = 30.0
    max_concurrent: Annotated[int, Meta(ge=1, le=10_000)] = 16  # more wait here for their turn
    input_cost: Cost = 0.0  # for a million tokens of prompts
    output_cost: Cost = 0.0  # for a million tokens of answers
    dimension: Annotated[int, Meta(ge=1, le=2**31 - 1)] | None = (
        None  # an embedder's; None: seen in answers
    )
    start: Command = field(default_factory=list[str])
    ready: str | Command = ""  # a command that succeeds, or a URL that answers 200; empty: /models
    stop: Command = field(default_factory=list[str])
    start_timeout_s: Seconds = 900.0  # from the beginning of `start` until `ready` says yes
    ready_interval_s: Seconds = 2.0
    stop_timeout_s: Seconds = 60.0
    idle_timeout_s: Seconds | None = None  # None: it runs until the gateway ends

    def __post_init__(self) -> None:
        for name in self.headers:
            if name.lower() in SECRET:
                raise ValueError(
                    f"headers: '{name}' would hold a secret; put it into an environment variable "
                    "and name that in api_key_env"
                )
        for name in ("ready", "stop", "idle_timeout_s"):
            if getattr(self, name) and not self.start:
                raise ValueError(f"'{name}' needs 'start'")
        if self.idle_timeout_s is not None and not self.stop:
            raise ValueError("'idle_timeout_s' needs 'stop'")
