"""模拟 · Search seeded schedules of faults for one that breaks an invariant, and tell its story."""

from __future__ import annotations

import os
import time
from typing import TYPE_CHECKING, Annotated, Any

import typer

from quanlian.errors import ConfigurationError

if TYPE_CHECKING:
    from simulations.faults.plan import Plan
    from simulations.faults.run import Summary
    from simulations.faults.world import Result

TOLD_EVERY_SECONDS = 10.0


def command(
    faults: Annotated[
        bool, typer.Option("--faults", help="模拟故障 · Simulate faults of network and machines.")
    ] = False,
    schedules: Annotated[int, typer.Option(min=1, help="场次数 · How many schedules to play.")] = 1000,
    seed: Annotated[int, typer.Option(help="随机种子 · The same seed gives the same schedules and traces.")] = 2020,
    schedule: Annotated[
        int | None, typer.Option(min=0, help="只重放一场并讲述经过 · Play this one schedule and tell its story.")
    ] = None,
    workers: Annotated[
        int | None, typer.Option(min=1, help="进程数，默认每核一个 · Processes; by default one a core.")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="以 JSON 输出结果 · Print the result as JSON.")] = False,
) -> None:
    """模拟：消息丢失、重复、乱序、断网、崩溃、时钟跳变，逐场核对 · Play schedules of faults and audit each.

    节点与清分平台运行真实代码，时间、网络、数据库由模拟器提供。
    The services' real code runs on virtual time, over a simulated network, with databases in memory.
    Exit code 1 if any schedule breaks an invariant.
    """
    if not faults:
        raise ConfigurationError("nothing to simulate", place="simulate", remedy="give --faults")
    if schedule is not None:
        sound = _one(seed, schedule, as_json)
    else:
        sound = _many(seed, schedules, workers, as_json)
    if not sound:
        raise typer.Exit(1)


def _one(seed: int, schedule: int, as_json: bool) -> bool:
    from simulations.faults.plan import draw
    from simulations.faults.run import prepare
    from simulations.faults.world import play

    prepare()
    plan = draw(seed, schedule)
    result = play(plan, tell=True)
    if result.violations:
        plan, result = _shortened(plan)
    _show(plan, result, as_json, {"seed": seed, "schedule": schedule})
    return not result.violations


def _many(seed: int, schedules: int, workers: int | None, as_json: bool) -> bool:
    from simulations.faults import run
    from simulations.faults.plan import draw

    began = time.monotonic()
    summary, interrupted = _with_progress(seed, schedules, workers or os.cpu_count() or 1)
    known = run.as_json(summary)
    if summary.failures and not interrupted:
        run.prepare()
        plan, result = _shortened(draw(seed, summary.failures[0].schedule))
        _show(plan, result, as_json, {"seed": seed, "schedule": summary.failures[0].schedule, **known})
    elif as_json:
        from chassis.console import print_json

        print_json({"seed": seed, **known})
    if not as_json and summary.schedules:
        _tell(seed, summary, time.monotonic() - began)
    if interrupted:
        raise KeyboardInterrupt
    return not summary.failed


def _with_progress(seed: int, schedules: int, workers: int) -> tuple[Summary, bool]:
    """What came of the schedules that were played, and whether somebody interrupted them.

    Each failure is told as it is found, and without a terminal how far it is, now and then.
    """
    from chassis.console import progress
    from simulations.faults.run import Summary, simulate

    began = told_at = time.monotonic()
    told, latest = 0, Summary()
    with progress() as bar:
        task = bar.add_task("模拟 simulating", total=schedules)

        def tell(summary: Summary) -> None:
            nonlocal told, told_at, latest
            latest, now = summary, time.monotonic()
            words = f"模拟 simulating {summary.schedules / (now - began):,.0f}/s"
            if summary.failed:
                words += f"，失败 failed {summary.failed}"
            bar.update(task, completed=summary.schedules, description=words)
            for failure in summary.failures[told:]:
                bar.console.print(f"场次 schedule {failure.schedule}: {failure.violations[0]}", markup=False)
            told = len(summary.failures)
            if bar.disable and now - told_at > TOLD_EVERY_SECONDS:
                told_at = now
                bar.console.print(f"{words}: {summary.schedules:,} / {schedules:,}", markup=False)

        try:
            return simulate(seed, schedules, workers, tell), False
        except KeyboardInterrupt:
            return latest, True


def _shortened(plan: Plan) -> tuple[Plan, Result]:
    """The shortest failing part of a plan that was found, and what came of it."""
    from simulations.faults.shrinking import shortened
    from simulations.faults.world import play

    short = shortened(plan, lambda candidate: bool(play(candidate).violations))
    return short, play(short, tell=True)


def _show(plan: Plan, result: Result, as_json: bool, known: dict[str, Any]) -> None:
    from chassis.console import print_json, say
    from simulations.faults.story import story

    lines = story(plan, result)
    if as_json:
        violations = list(result.violations)
        print_json({**known, "violations": violations, "digest": result.digest, "story": lines})
        return
    for line in lines:
        say(line)


def _tell(seed: int, summary: Summary, seconds: float) -> None:
    from chassis.console import console, figure, table

    rows: list[tuple[str, Any]] = [
        ("种子 seed", seed),
        ("场次 schedules", summary.schedules),
        ("失败 failed", summary.failed),
        ("失败场次 which, the first 20", " ".join(str(each.schedule) for each in summary.failures) or "—"),
        ("提交 commits", summary.commits),
        ("答复 answers kept", summary.answers),
        ("每场处理器毫秒 CPU ms a schedule", figure(f"{1000 * summary.cpu_seconds / summary.schedules:,.1f}")),
        ("每秒场次 schedules a second", figure(f"{summary.schedules / seconds:,.1f}")),
        ("轨迹摘要 trace digest", summary.digest),
    ]
    console.print(table("故障模拟 Fault simulation", [("项目", "figure"), ("数值", "value")], rows))
