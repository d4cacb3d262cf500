"""The servers of the stack: side by side, restarted, replaced, stopped."""

import signal
import stat
import time
from collections.abc import Callable
from pathlib import Path

import psycopg
import pytest
import redis

from ops.stack import Stack, StackError, StackInfo, StackRunningError, leftovers, postgres
from ops.stack.layout import Layout
from ops.stack.readiness import lives

Start = Callable[..., Stack]


def wait_until(condition: Callable[[], object], timeout_s: float = 60) -> None:
    deadline = time.monotonic() + timeout_s
    while not condition():
        assert time.monotonic() < deadline, "the condition did not come true"
        time.sleep(0.05)


def execute(stack: Stack, statement: str) -> list[tuple[object, ...]]:
    with psycopg.connect(stack.info.migration_database_url, autocommit=True) as connection:
        cursor = connection.execute(statement.encode())
        return cursor.fetchall() if cursor.description else []


def client(stack: Stack) -> redis.Redis:
    return redis.Redis.from_url(stack.info.redis_url, decode_responses=True)


def test_two_stacks_run_side_by_side(start: Start) -> None:
    one, two = start("one"), start("two")

    with client(one) as first, client(two) as second:
        first.set("name", "one")
        assert second.get("name") is None
    execute(one, "CREATE TABLE only_here (id int)")
    assert execute(two, "SELECT to_regclass('only_here')") == [(None,)]


def test_applications_role_owns_nothing_and_may_not_create(shared: Stack) -> None:
    with (
        psycopg.connect(shared.info.database_url) as connection,
        pytest.raises(psycopg.errors.InsufficientPrivilege),
    ):
        connection.execute("CREATE TABLE mine (id int)")


def test_transaction_that_somebody_forgets_is_ended(shared: Stack) -> None:
    (setting,) = execute(
        shared, "SELECT setting::int > 0 FROM pg_settings WHERE name = 'idle_in_transaction_session_timeout'"
    )
    assert setting == (True,)


def test_servers_lose_nothing_at_a_crash(shared: Stack) -> None:
    settings = execute(shared, "SELECT name, setting FROM pg_settings WHERE name IN ('fsync', 'jit') ORDER BY 1")
    assert settings == [("fsync", "on"), ("jit", "off")]
    with client(shared) as connection:
        assert connection.config_get("append*")["appendonly"] == "yes"
        assert connection.config_get("maxmemory-policy") == {"maxmemory-policy": "noeviction"}


def test_killed_servers_come_back_with_their_data(start: Start) -> None:
    stack = start()
    execute(stack, "CREATE TABLE kept AS SELECT 1 AS id")
    with client(stack) as connection:
        connection.set("kept", "yes")
        # While the disk is busy the append-only file may lag behind by a second.
        connection.waitaof(1, 0, 10_000)
    killed = stack.kill("postgres") + stack.kill("valkey")

    stack.wait_ready()

    assert not set(killed) & set(stack.pids("postgres") + stack.pids("valkey"))
    assert execute(stack, "SELECT id FROM kept") == [(1,)]
    with client(stack) as connection:
        assert connection.get("kept") == "yes"


def test_storm_of_kills_ends_in_a_running_server(start: Start) -> None:
    stack = start(programs={"valkey"})
    for _ in range(3):
        wait_until(lambda: stack.pids("valkey"))
        stack.kill("valkey")

    stack.wait_ready()

    assert stack.processes("valkey")[0].state == "RUNNING"


def test_stopped_program_stays_stopped_until_it_is_started(start: Start) -> None:
    stack = start()

    stack.stop_program("valkey")
    assert stack.pids("valkey") == []
    stack.start_program("valkey")
    with client(stack) as connection:
        assert connection.ping()
    before = stack.pids("postgres")
    stack.restart("postgres")
    assert stack.pids("postgres") != before


def test_paused_program_is_not_restarted(start: Start) -> None:
    stack = start(programs={"valkey"})
    paused = stack.kill("valkey", signal.SIGSTOP)
    with redis.Redis.from_url(stack.info.redis_url, socket_timeout=0.1, retry=None) as connection:
        with pytest.raises(redis.TimeoutError):
            connection.ping()
        assert stack.kill("valkey", signal.SIGCONT) == paused


def test_stop_leaves_no_process(start: Start) -> None:
    stack = start()
    pids = {process.pid for process in leftovers.find(stack.layout)}
    assert set(stack.pids("postgres", children=True) + stack.pids("valkey")) <= pids

    stack.stop()

    assert leftovers.find(stack.layout) == []
    assert not any(lives(pid) for pid in pids)
    assert not stack.layout.info.exists()
    stack.stop()


def test_second_start_in_the_same_directory_is_refused(start: Start) -> None:
    first = start()

    with pytest.raises(StackRunningError, match="runs already"):
        start()

    first.wait_ready()


def test_taken_port_is_replaced_and_the_choice_is_remembered(start: Start) -> None:
    one = start("one", programs={"valkey"})
    taken = {"MARKETFLOW_REDIS_PORT": str(one.plan.ports["valkey"])}

    two = start("two", programs={"valkey"}, settings_overrides=taken)
    chosen = two.plan.ports["valkey"]
    assert chosen != one.plan.ports["valkey"]
    two.stop()
    assert start("two", programs={"valkey"}).plan.ports["valkey"] == chosen


def test_deep_directory_gets_short_sockets(start: Start) -> None:
    stack = start(Path(*["a directory with a long name, and 100 % odd characters"] * 4, "var"))

    assert execute(stack, "SELECT 1") == [(1,)]
    with client(stack) as connection:
        assert connection.ping()
    assert stat.S_IMODE(stack.layout.runtime.stat().st_mode) & 0o022 == 0


def test_given_address_replaces_the_embedded_server(start: Start) -> None:
    outside = start("outside").info
    given = {
        "MARKETFLOW_DATABASE_URL": outside.database_url,
        "MARKETFLOW_MIGRATION_DATABASE_URL": outside.migration_database_url,
        "MARKETFLOW_REDIS_URL": outside.redis_url,
    }

    stack = start("inside", settings_overrides=given)

    assert stack.processes() == []
    assert stack.info.database_url == outside.database_url
    assert stack.info.broker_url == outside.redis_url


def test_owners_address_alone_is_refused(start: Start) -> None:
    with pytest.raises(StackError, match="without MARKETFLOW_DATABASE_URL"):
        start(settings_overrides={"MARKETFLOW_MIGRATION_DATABASE_URL": "postgresql://x@/y"})


def test_unknown_program_is_refused(start: Start) -> None:
    with pytest.raises(StackError, match="No such program: postgers"):
        start(programs={"postgers"})


def test_stack_json_and_secrets_are_for_the_owner_alone(shared: Stack) -> None:
    for path in (shared.layout.info, shared.layout.secrets, shared.layout.supervisor_config):
        assert stat.S_IMODE(path.stat().st_mode) == 0o600
    written = StackInfo.model_validate_json(shared.layout.info.read_bytes())
    assert written.redis_url == shared.info.redis_url
    assert set(written.users) == {"buyer", "seller", "finance", "admin"}
    assert set(written.processes) == {"postgres", "valkey"}


def test_secrets_outlive_the_stack(start: Start) -> None:
    first = start(programs={"valkey"})
    first.stop()

    assert start(programs={"valkey"}).plan.secrets == first.plan.secrets


def test_program_that_cannot_start_is_reported_with_its_log(
    start: Start, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("ops.stack.valkey.prepare", lambda *_: None)

    with pytest.raises(StackError, match=r"valkey does not start(?s:.*)can't open config file"):
        start(programs={"valkey"})

    assert leftovers.find(Layout.of(tmp_path / "var")) == []


def test_interrupted_initdb_leaves_no_half_a_cluster(start: Start, tmp_path: Path) -> None:
    draft = Layout.of(tmp_path / "var").postgres / "data.new"
    (draft / "base").mkdir(parents=True)

    stack = start(programs={"postgres"})

    assert execute(stack, "SELECT 1") == [(1,)]
    assert not draft.exists()


def test_connection_of_a_session_does_not_hold_up_the_stop(start: Start) -> None:
    stack = start(programs={"postgres"})
    with psycopg.connect(postgres.url(stack.layout, postgres.OWNER)) as connection:
        connection.execute("SELECT 1")
        stack.stop()
        connection.close()
    assert leftovers.find(stack.layout) == []
