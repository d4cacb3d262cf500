import asyncio
import json
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Annotated

import typer

from ops.cli.console import output
from ops.cli.environment import running_settings
from ops.errors import OperatorError
from ops.sessions import Result

if TYPE_CHECKING:
    from db.breaker_rules import RedisRules

app = typer.Typer(help="The circuit breaker before Stripe, one for the whole fleet.", no_args_is_help=True)

Json = Annotated[bool, typer.Option("--json", help="For programs.")]


@app.command()
def status(*, as_json: Json = False) -> None:
    """Show where the breaker stands and how long it stays so; exit with 1 unless it is closed.

    3: Redis does not answer, and nobody knows.

    open: nobody calls Stripe. half_open: the next call tries. busy: it is being tried. quiet: Stripe asked for it.
    """
    verdict = _with_rules(lambda rules: rules.enter(""))
    if as_json:
        output.print_json(json.dumps({"state": verdict.word, "wait_s": verdict.wait_s}))
    else:
        wait = f" for another {verdict.wait_s:.1f} s" if verdict.wait_s else ""
        output.print(f"The breaker is {verdict.word}{wait}.", highlight=False)
    raise typer.Exit(0 if verdict.word == "closed" else 1)


@app.command()
def reset(*, as_json: Json = False) -> None:
    """Close the breaker and forget failures and quiet: all workers call Stripe again at once."""
    changed = _with_rules(lambda rules: rules.reset())
    if as_json:
        output.print_json(json.dumps({"state": "closed", "changed": changed}))
    else:
        output.print("The breaker is closed." if changed else "The breaker was closed already.")


def _with_rules(errand: "Callable[[RedisRules], Awaitable[Result]]") -> Result:
    from redis.asyncio import Redis  # noqa: PLC0415 - `--help` needs it not
    from redis.exceptions import RedisError  # noqa: PLC0415 - the same

    from db.breaker_rules import BreakerPolicy, RedisRules  # noqa: PLC0415 - the same

    settings = running_settings("redis_url")

    async def run() -> Result:
        timeout_s = settings.redis_timeout_s
        redis = Redis.from_url(settings.redis_url, socket_timeout=timeout_s, socket_connect_timeout=timeout_s)
        async with redis:
            # The numbers matter only to who counts failures.
            return await errand(RedisRules(redis, BreakerPolicy()))

    try:
        return asyncio.run(run())
    except (RedisError, OSError) as error:
        raise OperatorError("Redis does not answer: each worker goes by what it has seen itself.") from error
