"""A run: lines in, results out, exactly one each, whatever happens on the way.

read      at most `max_concurrent + queue_capacity` lines ahead; a line that is on file is passed over
start     in input order, as many as the target takes; in an outage one at a time finds out
send      the Cluster: queue, limits, budget, breaker, retries, fallbacks; the run's own cap is a gate of it
judge     an answer or a final error is written; other trouble makes the line, or all of its lane, wait
write     between two awaits, before the slot it came from starts another send
"""

from __future__ import annotations

import asyncio
import os
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING

from spillway.batch.answers import Answers, AnswersFactory
from spillway.batch.board import Board, under_way
from spillway.batch.crew import Crew
from spillway.batch.files import FileTroubleError, Syncer
from spillway.batch.intake import Intake
from spillway.batch.lane import Item, Lane
from spillway.batch.ledger import InThread, Ledger
from spillway.batch.lines import BadLine
from spillway.batch.opening import check_output, take_up
from spillway.batch.options import RunOptions
from spillway.batch.results import answer_line, error_line, failure_line
from spillway.batch.source import Fingerprint, Source
from spillway.batch.spend import LineGate, RunBudget
from spillway.batch.summary import Ending, RunSummary
from spillway.batch.targets import Target, Targets
from spillway.batch.verdict import Circumstances, Fail, Failures, Stop
from spillway.core.clock import sleep
from spillway.core.errors import BadRequest, ConfigError, InferenceError
from spillway.core.options import Deployment
from spillway.core.ports import RunnerFactory
from spillway.remote.cost import pico_to_usd, usd_to_pico
from spillway.remote.engine import Observer
from spillway.runtime.cluster import Cluster

if TYPE_CHECKING:
    from spillway.stores.shared import Store

_TICK_S = 1.0
_SLICE = 256


class Run:
    """One process's part of a run.

    Args:
        deployments: all that lines or fallbacks may name.
        environ: where secrets are read; default: the process's environment.
        runners: see `Cluster`.
        answers: makes who answers instead of a `Cluster` here; `environ`, `runners` and `store` are nothing to it then.
        processes: in how many processes each deployment has its slots.
        observers: told of every attempt and request.
        store: see `Cluster`.
        sync: makes a file durable; `in_thread` runs it.

    Raises:
        ConfigError: the input or the output can't be one; nothing was sent.
        FileTroubleError: the files can't be written; nothing was sent.
    """

    def __init__(
        self,
        deployments: Sequence[Deployment],
        options: RunOptions,
        *,
        environ: Mapping[str, str] | None = None,
        runners: Mapping[str, RunnerFactory] | None = None,
        answers: AnswersFactory | None = None,
        processes: int = 1,
        observers: Sequence[Observer] = (),
        store: str | Store = "memory",
        sync: Syncer = os.fsync,
        in_thread: InThread = asyncio.to_thread,
    ) -> None:
        deployments = [options.widen(d) for d in deployments]
        self.options = options
        self.targets = Targets(deployments, options.deployment, processes=processes)
        self.board = Board(self._note_failure)
        watching = [self.board, *observers]
        self.cluster: Answers = (
            Cluster(deployments, runners=runners, environ=environ, observers=watching, store=store)
            if answers is None
            else answers(deployments, watching)
        )
        check_output(options.output, resume=options.resume)
        self._source = Source(options.input, options.output.parent, output=options.output)
        try:
            self.about: Fingerprint = self._source.fingerprint()
            output, sidecar, self._past = take_up(
                options.output,
                self.about,
                resume=options.resume,
                retry_failed=options.retry_failed,
                ordered=options.ordered,
                sync=sync,
            )
        except BaseException:
            self._source.close()
            raise
        self._ledger = Ledger(output, sidecar, self._past, on_trouble=self._disk_trouble, in_thread=in_thread)
        self._intake = Intake(self.about, self.targets)
        cap = options.max_cost_usd
        self.budget = RunBudget(None if cap is None else usd_to_pico(cap), paid_pico=self._past.paid_pico)
        self.outcomes: Counter[str] = Counter(self._past.outcomes)
        self._before = self._past.outcomes.total()
        self.crew = Crew(send=self._send, idle=self._check_over, most=options.concurrency)
        self._outstanding = 0
        self._reader: asyncio.Task[None] | None = None
        self._read_all = False
        self._unlisten: list[Callable[[], None]] = []
        self._room = asyncio.Event()
        self._over = asyncio.Event()
        self._ending: Ending | None = None
        self._message = ""
        self._began = 0.0
        self.last_success_at = 0.0

    @property
    def total(self) -> int:
        """Lines to be answered."""
        limit = self.options.limit
        return self.about.requests if limit is None else min(limit, self.about.requests)

    async def go(self) -> RunSummary:
        """Run to the end, or to what stops it; may be called once.

        Raises:
            ConfigError: a secret is missing, a cap has no price to count with, the input changed meanwhile.

        Cancellation: stops in order, as `stop` does.
        """
        self._began = asyncio.get_running_loop().time()
        try:
            await self._start()
            try:
                await self._work_through()
            finally:
                await self.cluster.aclose()
        except BaseExceptionGroup as group:
            raise _first(group) from group
        finally:
            self._ledger.close()
            self._source.close()
        if self._ledger.trouble is not None:
            self._ending, self._message = Ending.DISK, str(self._ledger.trouble)
        return self.summary()

    def stop(self, ending: Ending, message: str) -> None:
        """End the run in order: start nothing more and cancel what is under way, but at the cap what was sent."""
        if self._ending is not None:
            return
        self._ending, self._message = ending, message
        if self._reader is not None:
            self._reader.cancel()
        if ending is Ending.MAX_COST:
            # What was sent is paid for.
            self.budget.closed = True
            self.crew.dismiss(spare=lambda item: item.gate.sent)
        else:
            self.crew.dismiss()
        self._check_over()

    def summary(self) -> RunSummary:
        """Return what the run came to so far."""
        metrics = self.cluster.metrics().per_deployment
        written = self.outcomes.total()
        ok = self.outcomes["ok"]
        return RunSummary(
            ending=self._ending or Ending.THROUGH,
            message=self._message,
            input=self.options.input,
            output=str(self.options.output),
            lines=max(self.total, written),
            ok=ok,
            failed=written - ok,
            errors={code: count for code, count in sorted(self.outcomes.items()) if code != "ok" and count},
            unwritten=max(self.total - written, 0),
            written_now=written - self._before,
            attempts=self.board.attempts,
            retried=self.board.retried,
            input_tokens=self.board.input_tokens,
            output_tokens=self.board.output_tokens,
            cost_usd=pico_to_usd(self.budget.paid_pico),
            cost_known=all(m.cost_usd is not None for m in metrics.values() if m.attempts),
            elapsed_s=asyncio.get_running_loop().time() - self._began,
            deployments=metrics,
        )

    # Reading.

    async def _read(self) -> None:
        for taken, (number, raw) in enumerate(self._source.lines(self.about)):
            if taken == self.options.limit:
                break
            if not self._past.is_done(number):
                await self._wait_for_room()
                self._take(number, raw)
            else:
                self._intake.pass_over(number, raw)
                if self._past.is_parked(number):
                    await self._wait_for_room()
                    self._ledger.expect(number)
            if taken % _SLICE == 0:
                await sleep(0)
        self._read_all = True
        self._check_over()

    async def _wait_for_room(self) -> None:
        while max(self._outstanding, self._ledger.turns_ahead) >= self.crew.window:
            self._room.clear()
            await self._room.wait()

    def _take(self, number: int, raw: bytes | None) -> None:
        """Start a line on its way, or write at once what is wrong with it."""
        self._outstanding += 1
        self._ledger.expect(number)
        found = self._intake.read(number, raw)
        if isinstance(found, BadLine):
            self._write(number, error_line(number, found.custom_id, "bad_request", found.message), "bad_request", 0)
            return
        line, target = found
        failures = Failures(self._past.failures.pop(number, 0), asyncio.get_running_loop().time())
        self.crew.push(self._lane(target), Item(line, LineGate(number, self.budget, self._ledger), failures))

    def _lane(self, target: Target) -> Lane:
        known = target.name in self.crew.lanes
        lane = self.crew.lane(target)
        if not known:
            for name in target.route:
                breaker = self.cluster.deployment(name).circuit_breaker()
                self._unlisten.append(breaker.on_room(lane.hurry))
        return lane

    # Sending.

    async def _send(self, lane: Lane, item: Item) -> None:
        target, error = lane.target, item.error
        if error is not None and item.failures.was_its_own(target, self.board.chronicle):
            self._fail(item, error)
            return
        under_way.set(item)
        clock = asyncio.get_running_loop().time
        began = clock()
        try:
            tokens = await self.cluster.submit(
                target.name,
                item.line.request,
                priority=self.options.priority,
                shift_early=False,
                gate=item.gate,
                stream=item.line.stream,
            )
        except InferenceError as caught:
            self._judge(lane, item, caught, began, clock())
        except Exception as caught:  # noqa: BLE001 - one line that trips a fault of ours must not end all others
            self._fail(item, BadRequest(f"the line can't be sent: {type(caught).__name__}: {caught}"))
        except BaseException:
            self._put_down(item)
            raise
        else:
            lane.pace.answered()
            if lane.active < lane.target.capacity:
                self.crew.fill(lane)
            self.last_success_at = clock()
            line, model = item.line, self.targets.provider_model(tokens.deployment)
            self._write(
                line.number, answer_line(line.number, line.custom_id, tokens, model), "ok", item.gate.take_paid()
            )

    def _judge(self, lane: Lane, item: Item, error: InferenceError, began: float, now: float) -> None:
        if self._ledger.trouble is not None:
            return
        at = Circumstances(
            target=lane.target, chronicle=self.board.chronicle, began=began, now=now, alone=lane.active == 1
        )
        verdict = item.failures.judge(error, at)
        if isinstance(verdict, Fail):
            self.last_success_at = now
            self._fail(item, error)
            return
        item.error = error
        self._put_down(item)
        if isinstance(verdict, Stop):
            self.stop(Ending.MAX_COST, f"--max-cost is reached: {error.message}")
            return
        if verdict.lane:
            lane.pace.trouble(now, verdict.delay_s, verdict.reason)
            lane.push(item)
        else:
            lane.push(item, not_before=now + verdict.delay_s)

    def _put_down(self, item: Item) -> None:
        """Record that a line is not under way, if a record says that it is."""
        gate, failed = item.gate, item.failures.count
        if gate.sent or gate.paid:
            self._ledger.wait(item.number, gate.take_paid(), failed)

    def _fail(self, item: Item, error: InferenceError) -> None:
        line = failure_line(item.number, item.line.custom_id, error, item.failures.attempts)
        self._write(item.number, line, error.code, item.gate.take_paid())

    def _write(self, number: int, line: bytes, outcome: str, paid: int) -> None:
        try:
            self._ledger.write(number, line, paid)
        finally:
            self._outstanding -= 1
            self._room.set()
        self.outcomes[outcome] += 1

    # Beginning and ending.

    async def _start(self) -> None:
        """Start the Cluster; a run that can't begin leaves no files behind."""
        try:
            await self.cluster.start()
            self._check_prices()
        except BaseException:
            await self.cluster.aclose()
            self._ledger.withdraw()
            raise

    async def _work_through(self) -> None:
        self.last_success_at = asyncio.get_running_loop().time()
        async with asyncio.TaskGroup() as tasks:
            self.crew.begin(tasks)
            helpers = [tasks.create_task(self._ledger.keep_durable()), tasks.create_task(self._watch())]
            self._reader = tasks.create_task(self._read())
            try:
                await self._over.wait()
            finally:
                self._reader.cancel()
                for task in helpers:
                    task.cancel()
                self.crew.dismiss()
                for unlisten in self._unlisten:
                    unlisten()

    async def _watch(self) -> None:
        """Stop the run when nothing has succeeded for too long."""
        clock = asyncio.get_running_loop().time
        patience = self.options.give_up_after_s
        while True:
            left = self.last_success_at + patience - clock()
            if left <= 0:
                held = [lane for lane in self.crew.lanes.values() if lane.pace.reason]
                why = "".join(f"; {lane.target.name}: {lane.pace.reason}" for lane in held)
                self.stop(Ending.GAVE_UP, f"nothing has succeeded for {patience:g} s{why}")
                return
            await sleep(min(left, _TICK_S))

    def _note_failure(self, number: int) -> None:
        self._ledger.fail(number)

    def _check_over(self) -> None:
        if self.crew.active:
            return
        if self._ending is not None or (self._read_all and not self._outstanding):
            self._over.set()

    def _disk_trouble(self, error: FileTroubleError) -> None:
        self.stop(Ending.DISK, str(error))

    def _check_prices(self) -> None:
        if self.budget.cap_pico is None:
            return
        certain = self.targets.certain
        for name in sorted(certain.route) if certain else self.cluster.deployments():
            if self.cluster.deployment(name).metrics().cost_usd is None:
                raise ConfigError(
                    f"--max-cost: the price of deployment {name!r} is unknown; say it in [deployment.pricing]"
                )

    def __repr__(self) -> str:
        return f"<Run {self.outcomes.total()}/{self.total} under way {self.crew.active} {self._ending or 'going on'}>"


def _first(group: BaseExceptionGroup[BaseException]) -> BaseException:
    """Return the exception that matters of those that ended the run together."""
    found: BaseException = group
    while isinstance(found, BaseExceptionGroup):
        found = next((e for e in found.exceptions if isinstance(e, ConfigError)), found.exceptions[0])
    return found
