"""The master holds no application; a process that is gone afterwards makes its workers."""

import asyncio
import os
import signal
import sys
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from pathlib import Path

import httpx
import psutil
import pytest

from ops.plain_settings import DEFAULTS, read_setting
from ops.settings import Settings
from tests.api.test_hostile_clients import free_port
from tests.eventually import DEADLINE_S, eventually

ROOT = Path(__file__).resolve().parents[2]
WORKERS = 2
CANNOT_LOAD = 4  # gunicorn's own


class Master:
    """A running master, and what its processes wrote down."""

    def __init__(self, process: asyncio.subprocess.Process, port: int, notes: Path) -> None:
        self.process = process
        self.notes = notes
        self._url = f"http://127.0.0.1:{port}/"

    def children(self) -> set[int]:
        return {child.pid for child in psutil.Process(self.process.pid).children(recursive=True)}

    def noted(self) -> list[int]:
        return [int(line) for line in self.notes.read_text().split()] if self.notes.exists() else []

    async def workers(self) -> set[int]:
        """Return the workers, when there are as many as there shall be and each of them answers."""
        answered: set[int] = set()
        async with asyncio.timeout(DEADLINE_S):
            while len(answered) < WORKERS or answered != self.children():
                answered &= self.children()
                async with httpx.AsyncClient(trust_env=False) as client:
                    try:
                        answered.add(int((await client.get(self._url)).text))
                    except httpx.TransportError:
                        await asyncio.sleep(0.02)
        return answered

    async def stop(self) -> tuple[int | None, str]:
        """Ask it to stop; return how it ended, and what it said."""
        self.process.terminate()
        return await self.end()

    async def end(self) -> tuple[int | None, str]:
        """Wait for its end; return how it ended, and what it said."""
        async with asyncio.timeout(DEADLINE_S):
            _, said = await self.process.communicate()
        return self.process.returncode, said.decode()


Running = Callable[..., AbstractAsyncContextManager[Master]]


@pytest.fixture
def running(tmp_path: Path) -> Running:
    """Run a master whose application has a fault."""

    @asynccontextmanager
    async def run(
        fault: str, *arguments: str, application: str = "tests.api.nursery_app:load()", **other: str
    ) -> AsyncIterator[Master]:
        port, notes = free_port(), tmp_path / "notes"
        given = {"API_PORT": str(port), "API_WORKERS": str(WORKERS), "VAR_DIR": str(tmp_path), **other}
        environment = {f"MARKETFLOW_{name}": value for name, value in given.items()}
        environment |= {"NURSERY_FAULT": fault, "NURSERY_NOTES": str(notes)}
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "gunicorn", "-c", "api/gunicorn_conf.py", *arguments),
            application,
            cwd=ROOT,
            start_new_session=True,
            env={**os.environ, **environment},
            stderr=asyncio.subprocess.PIPE,
        )
        try:
            yield Master(process, port, notes)
        finally:
            if process.returncode is None:
                os.killpg(process.pid, signal.SIGKILL)
                await process.communicate()

    return run


@pytest.fixture
async def master(running: Running) -> AsyncIterator[Master]:
    async with running("none") as master:
        yield master


async def test_workers_are_the_masters_and_who_made_them_is_gone(master: Master) -> None:
    workers = await master.workers()

    (nursery,) = master.noted()
    assert nursery not in workers
    assert not psutil.pid_exists(nursery)


async def test_master_holds_no_application(master: Master) -> None:
    def loaded(pid: int) -> bool:
        return "/uvloop/" in Path(f"/proc/{pid}/maps").read_text()

    assert all(loaded(worker) for worker in await master.workers())
    assert not loaded(master.process.pid)


async def test_worker_that_dies_is_made_anew(master: Master) -> None:
    before = await master.workers()
    killed = min(before)
    os.kill(killed, signal.SIGKILL)

    after = await master.workers()

    assert before - after == {killed}
    assert len(master.noted()) == 2


async def test_reload_puts_new_workers_in_the_place_of_the_old(master: Master) -> None:
    before = await master.workers()
    master.process.send_signal(signal.SIGHUP)

    await eventually(lambda: not master.children() & before)
    await master.workers()

    assert len(master.noted()) == 2


async def test_stopping_is_orderly(master: Master) -> None:
    workers = await master.workers()

    code, _ = await master.stop()

    assert code == 0
    assert not any(psutil.pid_exists(worker) for worker in workers)


@pytest.mark.parametrize("fault", ["fails", "exits"])
async def test_application_that_cannot_be_loaded_ends_the_master(running: Running, fault: str) -> None:
    async with running(fault) as master:
        code, said = await master.end()

    assert code == CANNOT_LOAD
    assert "a setting is missing" in said


async def test_no_workers_are_refused_by_who_checks_the_settings(running: Running) -> None:
    async with running("none", application="api.main:create()", API_WORKERS="0") as master:
        code, said = await master.end()

    assert code == CANNOT_LOAD
    assert "api_workers" in said


async def test_stopping_does_not_wait_for_what_is_being_loaded(running: Running) -> None:
    async with running("is slow") as master:
        (nursery,) = await eventually(master.noted)

        code, said = await master.stop()

    assert code == 0
    assert not psutil.pid_exists(nursery)
    assert "Traceback" not in said


async def test_nursery_that_is_killed_is_followed_by_another(running: Running) -> None:
    async with running("is slow") as master:
        (nursery,) = await eventually(master.noted)
        os.kill(nursery, signal.SIGKILL)

        assert len(await master.workers()) == WORKERS


async def test_nursery_that_takes_too_long_is_followed_by_another(running: Running) -> None:
    async with running("is slow", "--timeout", "5") as master:
        assert len(await master.workers()) == WORKERS
        assert len(master.noted()) >= 2


async def test_worker_that_the_master_never_heard_of_serves_nobody(running: Running) -> None:
    async with running("is killed") as master:
        workers = await master.workers()

        nursery, stray, *_ = master.noted()
        assert stray not in workers | {nursery}
        assert not psutil.pid_exists(stray)


GIVEN: Mapping[str, tuple[Mapping[str, str], Mapping[str, str]]] = {
    "nothing": ({}, {}),
    "variables": (
        {"MARKETFLOW_API_PORT": "1234", "marketflow_api_host": "::1", "MARKETFLOW_API_WORKERS": "3"},
        {},
    ),
    "files": ({}, {"api_port": "1234\n", "var_dir": "/v", "prometheus_dir": "/p"}),
    "both": ({"MARKETFLOW_API_PORT": "1"}, {"api_port": "2"}),
}


@pytest.mark.parametrize("given", GIVEN)
def test_master_reads_its_settings_as_the_application_does(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, given: str
) -> None:
    for name in [name for name in os.environ if name.startswith("MARKETFLOW_")]:
        monkeypatch.delenv(name)
    variables, files = GIVEN[given]
    for name, value in {**variables, "MARKETFLOW_SECRETS_DIR": str(tmp_path)}.items():
        monkeypatch.setenv(name, value)
    for name, text in files.items():
        (tmp_path / f"marketflow_{name}").write_text(text)

    settings = Settings()

    assert {name: read_setting(name) for name in DEFAULTS} == {
        name: str(getattr(settings, name) or "") for name in DEFAULTS
    }
