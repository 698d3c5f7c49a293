"""Item 15: what the application spends is counted, three times the same, and an alert fires in time.

The read-only check compares what the processes have counted since they were started with the ledger, and the
ledger with the log, digit by digit; and it reads the alerts that Prometheus has loaded. The exercise asks one
question and follows its cost. The budget that is expected is the module's, $100 a day, or the one that
labcheck.toml names ([cost] budget). The lab's chapter is 08_errors_and_cost, section "Cost".
"""

from __future__ import annotations

import re
import secrets
from collections.abc import Iterator
from dataclasses import dataclass

from promql_parser import AggregateExpr, BinaryExpr, Call, Expr, VectorSelector

from labcheck import promql
from labcheck.checks.model import Context, Item, Target, criterion
from labcheck.checks.monitoring import Alert, alertmanager_is_elsewhere, alerts, covers, unanswered
from labcheck.errors import Unreadable
from labcheck.facts import app_processes as inside
from labcheck.facts.app_processes import Followed, Spent, spending
from labcheck.facts.monitoring import Monitoring, monitoring
from labcheck.ssh import Connection
from labcheck.verdict import Finding, failed, passed, unknown

_METRIC = "app_llm_cost_usd_total"
_BUDGET = "app_daily_budget_usd"
_LOST = "app_ledger_rows_lost_total"
_COST = re.compile(r"cost|spen[dt]|usd", re.I)
_EXACT = 1e-9  # share by which a sum of floats may be off
_WHY = "a wrong sum looks like a right one, and the bill comes at the end of the month"


@criterion(spent=spending)
def calls_have_a_price(spent: Spent) -> Iterator[Finding]:
    """Every call that used tokens since the processes were started, or the newest one, has its price."""
    if not spent.ledger.calls:
        yield unknown("no question has been asked yet", until_exercised=True)
    elif spent.ledger.unpriced:
        yield failed(
            "calls that used tokens are in the ledger with no cost",
            expected="a price for every model that is called",
            why="the sum is 0 and looks fine, and no alert ever fires",
            next="whose prices are counted? OPENAI_PRICED_AS names the model; then restart the application",
            detail=f"{spent.ledger.unpriced} of {spent.ledger.calls} calls",
        )
    else:
        yield passed("every call has its price in the ledger", detail=f"{spent.ledger.calls} calls")


@criterion(spent=spending)
def the_processes_count_what_the_ledger_holds(spent: Spent) -> Iterator[Finding]:
    """The sum of the processes' metrics is the ledger's, since they were started."""
    if any(_METRIC not in process.before for process in spent.processes):
        yield failed(
            f"a process does not count what it spends: /metrics has no {_METRIC}",
            expected="each process counts the cost of its calls",
            why="an alert can only be as good as the metric below it",
        )
        return
    before = sum(process.before[_METRIC] for process in spent.processes)
    after = sum(process.after.get(_METRIC, 0.0) for process in spent.processes)
    ledger = spent.ledger
    least, most = float(ledger.since_last), float(ledger.since_first)
    lost = sum(process.after.get(_LOST, 0.0) for process in spent.processes)
    both = f"metric {before:.10g} to {after:.10g}, ledger {ledger.since_last} to {ledger.since_first}"
    if after * (1 + _EXACT) < least:
        yield failed(
            "the ledger holds more than the processes have counted",
            expected="the same sum in both",
            why=_WHY,
            next="which calls are not counted? Compare the ledger's rows with metrics.log by request id",
            detail=both,
        )
    elif before > most * (1 + _EXACT):
        yield failed(
            "the processes have counted more than the ledger holds" + (": it lost rows" if lost else ""),
            expected="the same sum in both",
            why="what the ledger does not hold cannot be put down to any user",
            next="the application's log has the rows that the database did not take: event_type ledger_error",
            detail=both,
        )
    else:
        yield passed("the processes count what the ledger holds", detail=both)


@criterion(spent=spending)
def the_log_says_the_same(spent: Spent) -> Iterator[Finding]:
    """For each request at the end of the log: the ledger has the same cost, to the last digit."""
    known = {number: cost for number, cost in spent.log.items() if cost or number in spent.costs}
    if not known:
        yield unknown("the log of calls has no cost to compare", until_exercised=True)
        return
    wrong = [number for number, cost in known.items() if spent.costs.get(number) != cost]
    if wrong:
        yield failed(
            "the log and the ledger do not say the same of what a request cost",
            expected="the same decimal in both",
            why=_WHY,
            next="compute the price once, as a decimal, and write that one into both",
            detail=f"{len(wrong)} of {len(known)}, for example {wrong[0]}: the log {known[wrong[0]]}, "
            f"the ledger {spent.costs.get(wrong[0], 'nothing')}",
        )
    else:
        yield passed("the log says the same, to the last digit", detail=f"{len(known)} requests")


# ---- the alerts --------------------------------------------------------------------------------


@dataclass(frozen=True)
class Threshold:
    """An alert fires above `factor` times the metric `budget`, or above `factor` dollars where that is ""."""

    budget: str
    factor: float

    def dollars(self, budgets: set[float]) -> float | None:
        """From which sum on, with these budgets in effect; None where none is."""
        if not self.budget:
            return self.factor
        return self.factor * max(budgets) if budgets else None


def of_cost(state: Monitoring) -> tuple[Alert, ...]:
    """The alerts that are about cost, by their names and their metrics."""
    return tuple(it for it in alerts(state).all if _COST.search(" ".join([it.rule.name, *it.names])))


def threshold(alert: Alert) -> Threshold | None:
    """From when on it fires; None where its expression does not say so."""
    for condition in promql.conditions(alert.says):
        if condition.operator in (">", ">="):
            name, factor = _times(condition.right) or ("?", 0.0)
            return Threshold(name, factor) if not name or "budget" in name.lower() else None
    return None


def _times(expression: Expr) -> tuple[str, float] | None:
    """The metric and what it is multiplied by: 0.8 * max(budget); an empty name for a number alone."""
    expression = promql.bare(expression)
    value = promql.number(expression)
    if value is not None:
        return "", value
    if isinstance(expression, VectorSelector):
        return promql.selector(expression).name, 1.0
    if isinstance(expression, BinaryExpr):
        left, right, how = _times(expression.lhs), _times(expression.rhs), str(expression.op)
        if left and right and how == "*" and not (left[0] and right[0]):
            return left[0] or right[0], left[1] * right[1]
        if left and right and how == "/" and not right[0] and right[1]:
            return left[0], left[1] / right[1]
    elif isinstance(expression, AggregateExpr):
        return _times(expression.expr)
    elif isinstance(expression, Call) and expression.func.name in ("scalar", "vector"):
        return _times(expression.args[0])
    return None


@criterion(state=monitoring)
def an_alert_is_evaluated(state: Monitoring, target: Target) -> Iterator[Finding]:
    """Prometheus is there, has alerts about cost, and can evaluate each."""
    about_cost = of_cost(state)
    if not state.prometheus and (reasons := unanswered(state, "Prometheus")):
        yield unknown(f"it could not be asked: {reasons[0]}", next="systemctl status prometheus")
    elif not state.prometheus:
        yield failed(
            "no rules are evaluated here: Prometheus does not answer on 127.0.0.1:9090",
            expected="an alert on the cost of a day",
            why="a loop that asks a model all night is found on the bill",
            next="see 07_monitoring, and then this chapter",
        )
    elif not about_cost and (unread := alerts(state).unread):
        name, reason = next(iter(unread.items()))
        yield unknown(f"whether the alert {name} is about cost cannot be determined: {reason}")
    elif not about_cost:
        yield failed(
            "Prometheus has no alert about cost",
            expected=f"one that fires when a day costs more than ${target.budget:g}",
            why="a loop that asks a model all night is found on the bill",
            next="put the rules into /etc/prometheus/rules, and reload Prometheus",
        )
    for alert in about_cost:
        if alert.rule.health != "ok":
            yield failed(
                f"the alert {alert.rule.name} is loaded, and cannot be evaluated ({alert.rule.health})",
                expected="an expression that gives a result",
                why="it never fires",
                next="Prometheus's page /rules says what is wrong with it",
            )


@criterion(state=monitoring, spent=spending)
def a_rule_knows_the_budget(state: Monitoring, spent: Spent, target: Target) -> Iterator[Finding]:
    """An alert fires when a day costs more than a budget that makes sense, and one before that."""
    about_cost = of_cost(state)
    if not about_cost:
        return  # is another finding
    budgets = {process.after[_BUDGET] for process in spent.processes if _BUDGET in process.after}
    if len(budgets) > 1:
        yield failed(
            "the processes do not have the same budget",
            expected="one budget",
            why="a setting was changed, and not every process was restarted",
            next="restart all of the application's processes",
        )
        return
    thresholds = [it for alert in about_cost if (it := threshold(alert))]
    limits = {limit for it in thresholds if (limit := it.dollars(budgets))}
    if not limits:
        yield unknown(
            f"from which sum on {about_cost[0].rule.name} fires could not be read",
            next=f"its expression should end with > {target.budget:g} or > max({_BUDGET})",
        )
    elif max(limits) > target.budget:
        yield failed(
            f"the budget in effect is ${max(limits):,.10g} a day",
            expected=f"at most ${target.budget:g} (another one is named in labcheck.toml: [cost] budget)",
            why="an alert that cannot fire is no alert",
            next="set DAILY_BUDGET_USD, and restart the application",
        )
    elif min(limits) > 0.9 * max(limits):
        yield failed(
            f"it is told that a day has cost ${max(limits):g}, and not before",
            expected="an alert at the budget, and one at 80 % of it",
            why="the first that you hear of it is that the money is gone",
            next="add a rule with the same expression, and 0.8 times the budget",
        )
    else:
        sums = " and ".join(f"${limit:g}" for limit in sorted(limits))
        yield passed(f"an alert fires when a day costs more than {sums}")


@criterion(state=monitoring)
def it_would_reach_a_person(state: Monitoring) -> Iterator[Finding]:
    """Prometheus knows an Alertmanager, and that one has a receiver and no silence."""
    about_cost = of_cost(state)
    if not about_cost:
        return  # is another finding
    connected = any(prometheus.alertmanagers for prometheus in state.prometheus)
    if connected and not state.alertmanagers and (reasons := unanswered(state, "Alertmanager")):
        yield unknown(f"it could not be asked: {reasons[0]}", next="systemctl status prometheus-alertmanager")
    elif connected and not state.alertmanagers and alertmanager_is_elsewhere(state):
        reason = "Prometheus hands its alerts to an Alertmanager"
        yield unknown(f"{reason} on another server, which cannot be asked from here")
    elif not connected or not state.alertmanagers:
        yield failed(
            "Alertmanager does not answer" if connected else "Prometheus knows no Alertmanager",
            expected="a way from the rule to a person",
            why="it fires where no person looks",
            next="alertmanagers in /etc/prometheus/prometheus.yml; systemctl status prometheus-alertmanager",
        )
    elif not any(kinds for manager in state.alertmanagers for kinds in manager.receivers.values()):
        yield failed(
            "Alertmanager has a receiver that sends nowhere",
            expected="a receiver with a webhook, mail, or the like",
            why="it swallows every alert, and says that all is well",
            next="give the receiver in /etc/prometheus/alertmanager.yml an address",
        )
    elif quiet := sorted({alert.rule.name for alert in about_cost if _is_silenced(alert, state)}):
        yield failed(
            f"a silence keeps back {', '.join(quiet)}",
            expected="no silence on it, once the maintenance is over",
            why="a silence that was forgotten looks like a quiet day",
            next="amtool silence query, and amtool silence expire",
        )
    else:
        yield passed("its alert has a way to a receiver")


def _is_silenced(alert: Alert, state: Monitoring) -> bool:
    labels = {**alert.rule.labels, "alertname": alert.rule.name}
    return any(covers(silence, labels) for manager in state.alertmanagers for silence in manager.silences)


# ---- exercise ----------------------------------------------------------------------------------


def one_question(counted: Followed) -> Iterator[Finding]:
    """What came of one question: its cost in the ledger, the log, and the metric."""
    if counted.error:
        raise Unreadable(counted.error)
    if counted.status != 200:
        yield unknown(f"a question was answered with status {counted.status}: there was nothing to count")
        return
    ledger, log = counted.ledger, counted.log
    if not ledger:
        yield failed(
            "one question was asked and answered, and the ledger has "
            + ("no row of it" if ledger is None else "it for nothing"),
            expected="a row with what it cost",
            why="the sum is 0 and looks fine",
            next="whose prices are counted? OPENAI_PRICED_AS names the model",
        )
    elif log != ledger or abs(counted.metric - float(ledger)) > float(ledger) * 1e-6:
        yield failed(
            "one question has not the same cost in ledger, log and metric",
            expected="the same in all three",
            why=_WHY,
            detail=f"ledger {ledger}, log {log}, metric {counted.metric:.12g}",
        )
    else:
        yield passed("one question costs the same in ledger, log and metric", detail=f"${ledger}")


def a_question_is_counted(server: Connection, ctx: Context) -> Iterator[Finding]:
    """Ask one question that has not been asked before, as one of the application's users."""
    mark = secrets.token_hex(8)
    message = f"What does a question cost? ({mark})"
    number = f"labcheck-{mark}"
    yield from one_question(inside.ask(server, Followed, "question", ctx.target.chat_path, message, number))


ITEM = Item(
    number=15,
    title="Cost alerts configured",
    short="Cost alerts",
    chapter="08_errors_and_cost",
    section="Cost",
    criteria=(
        calls_have_a_price,
        the_processes_count_what_the_ledger_holds,
        the_log_says_the_same,
        an_alert_is_evaluated,
        a_rule_knows_the_budget,
        it_would_reach_a_person,
    ),
    exercise=a_question_is_counted,
)
