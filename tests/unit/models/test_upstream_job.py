"""Servers that are started by the first request and stopped when idle."""

import asyncio
import logging
import os
import signal
from collections.abc import Callable
from pathlib import Path

import pytest
from msgspec.structs import replace

from models.errors import LoadFailed
from models.upstream import commands
from models.upstream.job import Job
from models.upstream_settings import UpstreamSettings


async def never(url: str) -> bool:
    return False


async def until(true: Callable[[], bool]) -> None:
    """For what has no event; the deadline is the test's."""
    while not true():  # noqa: ASYNC110
        await asyncio.sleep(0.002)


class Folder:
    """Commands that leave a line each in a log, and a file while the server "runs"."""

    def __init__(self, path: Path) -> None:
        self.log = path / "log"
        self.up = path / "up"
        self.log.touch()
        self.settings = UpstreamSettings(
            start=["sh", "-c", f"echo start >> {self.log}; echo submitted; touch {self.up}"],
            ready=["test", "-e", str(self.up)],
            stop=["sh", "-c", f"echo stop >> {self.log}; rm {self.up}"],
            ready_interval_s=0.01,
        )

    def lines(self) -> list[str]:
        return self.log.read_text().split()


@pytest.fixture
def folder(tmp_path: Path) -> Folder:
    return Folder(tmp_path)


async def test_all_who_come_first_share_one_start(
    folder: Folder, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    job = Job("far", folder.settings, never)
    assert (job.state, "next request" in job.detail) == ("asleep", True)
    asking = [asyncio.create_task(job.acquire()) for _ in range(5)]
    await until(lambda: job.state == "starting")
    assert job.detail.startswith("starting for 0 s: 'start' (sh)")
    await asyncio.gather(*asking)
    assert (job.state, job.detail, folder.lines()) == ("running", "", ["start"])
    assert "far: start: submitted" in caplog.text
    await job.stop(10)
    assert folder.lines() == ["start", "stop"]


async def test_it_is_stopped_when_idle_and_started_again(folder: Folder) -> None:
    job = Job("far", replace(folder.settings, idle_timeout_s=0.01), never)
    for _ in range(2):
        await job.acquire()
        await job.acquire()
        job.release()
        assert job.state == "running"  # one still asks
        job.release()
        await until(lambda: job.state == "asleep")
    assert folder.lines() == ["start", "stop"] * 2
    await job.stop(10)
    assert folder.lines() == ["start", "stop"] * 2


async def test_what_runs_already_is_not_started_and_what_is_lost_is(folder: Folder) -> None:
    folder.up.touch()
    job = Job("far", folder.settings, never)
    await job.acquire()
    assert folder.lines() == []
    folder.up.unlink()
    job.lost()
    await job.acquire()
    assert folder.lines() == ["start"]
    await job.stop(10)


async def test_a_start_that_fails_names_the_command_and_what_it_said(folder: Folder) -> None:
    start = ["sh", "-c", "echo no such partition >&2; exit 3"]
    job = Job("far", replace(folder.settings, start=start), never)
    found = await asyncio.gather(*(job.acquire() for _ in range(3)), return_exceptions=True)
    assert [type(each) for each in found] == [LoadFailed] * 3
    for part in ("'far'", "'start' (sh)", "status 3", "no such partition"):
        assert part in str(found[0])
        assert part == "'far'" or part in job.detail
    assert job.state == "asleep"
    assert folder.lines() == ["stop"]  # nothing of it may be left running


async def test_a_start_that_leads_nowhere_has_a_limit(folder: Folder) -> None:
    settings = replace(folder.settings, ready=["false"], start_timeout_s=1.5)
    job = Job("far", settings, never)
    with pytest.raises(LoadFailed, match="ready"):
        await job.acquire()
    assert folder.lines() == ["start", "stop"]


async def test_a_waiting_request_that_goes_ends_the_start_for_nobody(folder: Folder) -> None:
    job = Job("far", folder.settings, never)
    first, second = (asyncio.create_task(job.acquire()) for _ in range(2))
    await until(lambda: job.state == "starting")
    first.cancel()
    await second
    assert job.state == "running"
    await job.stop(10)


async def test_stopping_amid_a_start_ends_it(folder: Folder) -> None:
    job = Job("far", replace(folder.settings, ready=["false"]), never)
    asking = asyncio.create_task(job.acquire())
    await until(lambda: "start" in folder.lines())
    await job.stop(10)
    with pytest.raises(Exception, match="stopped"):
        await asking
    assert folder.lines() == ["start", "stop"]


async def test_a_stop_that_fails_is_tried_again(folder: Folder) -> None:
    stop = ["sh", "-c", f"echo stop >> {folder.log}; test $(grep -c stop {folder.log}) -gt 1"]
    job = Job("far", replace(folder.settings, stop=stop, idle_timeout_s=0.01), never)
    await job.acquire()
    job.release()
    await until(lambda: folder.lines().count("stop") == 2 and job.state == "asleep")
    await job.stop(10)
    assert folder.lines() == ["start", "stop", "stop"]


async def test_a_url_may_say_that_it_is_ready(folder: Folder) -> None:
    asked: list[str] = []

    async def probe(url: str) -> bool:
        asked.append(url)
        return len(asked) > 2

    job = Job("far", replace(folder.settings, ready="http://there/health"), probe)
    await job.acquire()
    assert asked == ["http://there/health"] * 3
    await job.stop(10)


async def test_a_command_is_ended_with_all_it_began_and_may_not_exist(tmp_path: Path) -> None:
    held = await commands.run("x", ["sh", "-c", "echo here; sleep 60 & sleep 60"], 0.2)
    assert held == ("did not end within 0.2 s", "here")
    assert "cannot be run" in (await commands.run("x", [str(tmp_path / "nothing")], 1)).problem
    left = await commands.run("x", ["sh", "-c", "sleep 60 & echo $!"], 5)
    assert left.problem == ""  # what stays behind holds the pipe, and nobody waits for it
    os.kill(int(left.tail), signal.SIGKILL)
