"""Runs the rounds of a workload: every server takes its turn in every round."""

import asyncio
import random
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import msgspec
from msgspec import Struct

from clients.api import ClientError
from clients.bench.http import Endpoint
from clients.bench.measure import Sample, Wave
from clients.bench.mixed import run_into
from clients.bench.stream import Unsupported, embed, stream
from clients.bench.workload import WORKLOADS, Case, Request, Workload

__all__ = ["Lacking", "Plan", "Run", "measure"]

REQUEST_S = 300.0
WARM_UP = "warm-up"
WARM_UP_TOKENS = 16


@dataclass(frozen=True)
class Plan:
    """What is run. The order of the servers turns from round to round."""

    model: str
    workload: str
    concurrency: Sequence[int]
    tokens: int
    rounds: int
    seed: int

    @property
    def made_by(self) -> Workload:
        """The workload of that name."""
        return WORKLOADS[self.workload]

    @property
    def cases(self) -> list[Case]:
        """One after the other in each round."""
        return self.made_by.cases(self.concurrency)

    def requests(self, case: Case, turn: int | str) -> list[list[Request]]:
        """What each client sends in a round: the same to every server, and at every run."""
        rng = random.Random(f"{self.seed}/{self.workload}/{case.name}/{turn}")  # noqa: S311
        tokens = min(self.tokens, WARM_UP_TOKENS) if turn == WARM_UP else self.tokens
        return self.made_by.requests(rng, case, self.model, tokens)


class Lacking(Struct, kw_only=True):
    """A peer that cannot do a case, and what it answered."""

    server: str
    case: str
    why: str


@dataclass
class Run:
    """All rounds by server, and what could not be run."""

    waves: dict[str, list[Wave]]
    lacking: list[Lacking] = field(default_factory=list[Lacking])

    def lacks(self, server: str, case: str) -> bool:
        """Whether the server is left out of the case."""
        return any(each.server == server and each.case == case for each in self.lacking)


async def measure(endpoints: Sequence[Endpoint], plan: Plan, advance: Callable[[str], None]) -> Run:
    """Run the plan. `advance` is told what is next, each time.

    A peer that refuses what a case needs is left out of it. Raises ClientError where the first
    server refuses, or where any server fails its first request.
    """
    run = Run({endpoint.name: [] for endpoint in endpoints})
    for endpoint in endpoints:
        for case in plan.cases:
            advance(f"{plan.workload}: {endpoint.name} is warming up")
            try:
                await _warm_up(endpoint, plan, case)
            except Unsupported as error:
                if endpoint is endpoints[0]:
                    raise
                run.lacking.append(Lacking(server=endpoint.name, case=case.name, why=str(error)))
    for turn in range(plan.rounds):
        for case in plan.cases:
            for endpoint in in_turn(endpoints, turn):
                advance(f"{plan.workload}: {endpoint.name}, {case.name}")
                if not run.lacks(endpoint.name, case.name):
                    run.waves[endpoint.name].append(await _wave(endpoint, plan, case, turn))
    return run


def in_turn(endpoints: Sequence[Endpoint], turn: int) -> list[Endpoint]:
    """Every server comes first equally often."""
    first = turn % len(endpoints)
    return [*endpoints[first:], *endpoints[:first]]


async def _warm_up(endpoint: Endpoint, plan: Plan, case: Case) -> None:
    """One request of each kind that the case has; what fails now would fail every time."""
    clients = plan.requests(case, WARM_UP)
    for request in [clients[0][0], clients[-1][0]] if plan.made_by.interferes else [clients[0][0]]:
        try:
            async with asyncio.timeout(REQUEST_S):
                sample = await _send(endpoint, request)
            if plan.made_by.unit == "prompt tokens" and not sample.prompt_tokens:
                raise Unsupported("it sends no usage, so that a prompt's tokens are not known")
        except TimeoutError as error:
            raise ClientError(f"{endpoint.name}: no answer within {REQUEST_S:.0f} s") from error
        except msgspec.DecodeError as error:
            raise ClientError(f"{endpoint.name}: {error}") from error
        except ClientError as error:
            raise type(error)(f"{endpoint.name}: {error}") from error


async def _wave(endpoint: Endpoint, plan: Plan, case: Case, turn: int) -> Wave:
    clients = plan.requests(case, turn)
    if plan.made_by.interferes:
        requests = [request for client in clients for request in client]
        return await run_into(endpoint, case.name, turn, requests, REQUEST_S)
    began = time.perf_counter()
    samples = await asyncio.gather(*(_client(endpoint, requests, began) for requests in clients))
    seconds = time.perf_counter() - began
    every = [sample for client in samples for sample in client]
    if plan.made_by.unit == "prompt tokens":
        for sample in every:
            sample.units = sample.prompt_tokens
    return Wave(case=case.name, turn=turn, samples=every, seconds=seconds)


async def _client(endpoint: Endpoint, requests: Sequence[Request], began: float) -> list[Sample]:
    """One after the other. A request that fails is a result too: the others go on."""
    samples: list[Sample] = []
    for request in requests:
        started = time.perf_counter() - began
        try:
            async with asyncio.timeout(REQUEST_S):
                sample = await _send(endpoint, request)
        except TimeoutError:
            sample = Sample(error=f"no answer within {REQUEST_S:.0f} s")
        except (ClientError, msgspec.DecodeError) as error:
            sample = Sample(error=str(error))
        sample.began = started
        samples.append(sample)
    return samples


async def _send(endpoint: Endpoint, request: Request) -> Sample:
    if "input" in request.body:
        return await embed(endpoint, request)
    return await stream(endpoint, request)
