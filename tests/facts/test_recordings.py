"""Every parser on what real and hand-made servers print: the value, or the reason why it is unreadable."""

from __future__ import annotations

import copy
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from labcheck.errors import Unreadable
from labcheck.facts.rotation import Handled, gap_of_timer
from labcheck.result import Result
from tests.facts import record

HERE = Path(__file__).parent
FACTS = {fact.name: fact for fact in record.all_facts()}
FILES = sorted((HERE / "recordings").glob("*/*.txt"))


def read(case: str) -> Any:
    fact, _, _ = case.partition("/")
    return FACTS[fact].parse(
        record.from_text((HERE / "recordings" / f"{case}.txt").read_text(encoding="utf-8"))
    )


UNREADABLE = {
    "listening_sockets/not_installed": "ss is not installed",
    "listening_sockets/unknown_columns": "not understood",
    "packet_filter/no_permission": "iptables ended with status 4",
    "passwords/not_root": "status 1",
    "sudo_rules/other_words": "not understood",
    "units/not_booted_with_systemd": "not been booted with systemd",
    "processes/cut_off": "incomplete",
    "supervisor/no_permission": "Permission denied",
    "ssh_connection/none": "does not know",
    "secrets/a_fault": "ended with status 1: MemoryError in line 215",
    "secrets/cut_off": "not understood",
    "secrets/other_words": "not understood",
    "secrets/without_python": "python3 is not installed",
    "shared_stores/cut_off": "incomplete",
    "shared_stores/other_words": "not understood",
    "shared_stores/without_ss": "ss ended with status 127: .*command not found",
    "sshds/broken": "sshd -T ended with status 255: .*bad configuration options",
    "sshds/cut_off": "incomplete",
    "sshds/in_a_container": "in a container",
    "sshds/match_host": "a Match block asks for host",
    "sshds/too_many_cases": "more than 24 cases",
    "log_files/cut_off": "incomplete",
    "log_files/old_bash": "too old",
    "ages/cut_off": "incomplete",
    "rotation/cut_off": "incomplete",
    "starters/systemctl_fails": "not been booted with systemd",
}


@pytest.mark.parametrize("path", FILES, ids=lambda path: f"{path.parent.name}/{path.stem}")
def test_a_recording_is_read_or_is_unreadable_for_a_known_reason(path: Path) -> None:
    case = f"{path.parent.name}/{path.stem}"
    if case in UNREADABLE:
        with pytest.raises(Unreadable, match=UNREADABLE[case]):
            read(case)
    else:
        read(case)


def test_sockets_have_their_programs_and_their_reach() -> None:
    sockets = {(s.protocol, s.address, s.port): s for s in read("listening_sockets/typical")}
    assert sockets["tcp", "127.0.0.1", 8000].program == "uvicorn"
    assert sockets["tcp", "127.0.0.1", 8000].loopback
    assert sockets["udp", "127.0.0.53", 53].loopback
    assert sockets["tcp", "::", 22].program == "sshd"
    assert sockets["tcp", "*", 443].everywhere
    assert sockets["tcp", "fe80::1", 9].pids == ()


@pytest.mark.parametrize(
    ("case", "drops"),
    [
        ("ufw", {4: True, 6: True}),
        ("bare", {4: False, 6: False}),
        ("nftables", {4: True, 6: True}),
        ("policy_made_void", {4: False, 6: False}),
    ],
)
def test_packet_filter_counts_only_if_it_drops_what_no_rule_allows(case: str, drops: dict[int, bool]) -> None:
    assert read(f"packet_filter/{case}").drops == drops


@pytest.mark.parametrize(
    ("case", "rejects", "rejected"),
    [
        ("debian12_finished", False, set()),  # though ufw has a chain with REJECT, for `ufw limit`
        ("ufw_limit_and_reject", False, {(4, "tcp", 113), (6, "tcp", 113)}),
        ("ufw_default_reject", True, set()),
        ("nftables", False, set()),
        ("nftables_reject", True, set()),
    ],
)
def test_packet_filter_that_rejects_is_distinguished_from_one_that_could(
    case: str, rejects: bool, rejected: set[tuple[int, str, int]]
) -> None:
    found = read(f"packet_filter/{case}")
    assert found.rejects == {4: rejects, 6: rejects}
    assert found.rejected == rejected


def test_a_bare_debian_12_is_read_as_what_it_is() -> None:
    assert read("packet_filter/debian12_bare").drops == {4: False, 6: False}
    assert {(s.address, s.port) for s in read("listening_sockets/debian12_bare") if not s.loopback} == {
        ("192.168.121.160", 68),
        ("0.0.0.0", 22),
        ("::", 22),
    }
    assert not read("supervisor/debian12_bare").running
    assert read("passwords/debian12_bare")["vagrant"] == "set"
    assert read("accounts/debian12_bare").by_name("aiapp") is None
    assert not read("units/debian12_bare")["ufw"].present
    assert not read("firewall_files/debian12_bare").ufw_enabled


def test_a_finished_debian_12_is_read_as_what_it_is() -> None:
    assert read("packet_filter/debian12_finished").drops == {4: True, 6: True}
    assert read("packet_filter/debian12_finished").by_ufw
    assert read("firewall_files/debian12_finished").ufw_enabled
    sockets = {
        (s.address, s.port): s for s in read("listening_sockets/debian12_finished") if s.protocol == "tcp"
    }
    assert sockets["127.0.0.1", 8000].program == "uvicorn"
    assert sockets["*", 443].program == "caddy"
    (program,) = read("supervisor/debian12_finished").programs
    assert (program.full_name, program.state, program.kills_group) == ("aiapp:aiapp-8000", "RUNNING", True)
    assert read("supervisor_files/debian12_finished")["aiapp-8000"].autorestart == "true"
    assert read("passwords/debian12_finished")["aiapp"] == "locked"
    assert read("sudo_rules/debian12_finished") == {"aiapp": ()}
    units = read("units/debian12_finished")
    assert units["ufw"].starts_at_boot == units["supervisor"].starts_at_boot == "enabled"
    app = read("processes/debian12_finished").by_pid(program.pid)
    assert app.capabilities == 0 and not app.contained


def test_a_debian_12_as_chapter_06_leaves_it_is_read_as_what_it_is() -> None:
    (sshd,) = read("sshds/debian12_after_06").listening
    (case,) = sshd.cases
    assert not case.passwords and case.settings["permitrootlogin"] == "no" and not sshd.changed
    stores = read("shared_stores/debian12_after_06")
    assert [(store.variable, store.place, store.connected) for store in stores] == [
        ("REDIS_URL", "localhost:6379/0", True)
    ] * 3
    secrets = read("secrets/debian12_after_06")
    assert {(it.account, it.program, tuple(it.secrets)) for it in secrets.holders} == {
        ("aiapp", "uvicorn", ("DATABASE_URL", "OPENAI_API_KEY", "API_KEYS"))
    }
    assert not (secrets.places or secrets.unread or secrets.unfinished)
    (usual,) = [one for one in read("starters/debian12_after_06") if not one.off]
    assert (usual.name, usual.gap) == ("logrotate.timer", 3660)


def test_a_password_is_locked_set_or_empty() -> None:
    assert read("passwords/typical") == {
        "root": "locked",
        "vagrant": "set",
        "aiapp": "locked",
        "guest": "empty",
    }


def test_sudo_rules_are_those_that_sudo_names() -> None:
    assert read("sudo_rules/typical") == {"aiapp": (), "vagrant": ("(ALL) NOPASSWD: ALL",)}


def test_a_process_that_ended_meanwhile_is_left_out_and_one_in_a_container_is_marked() -> None:
    processes = read("processes/one_in_a_container")
    assert [process.pid for process in processes.all] == [1, 800]
    assert processes.by_pid(800).contained and not processes.by_pid(1).contained
    assert processes.by_pid(800).groups == {1001, 998}


def test_a_unit_that_is_not_installed_is_not_present() -> None:
    seen = read("units/supervisor_enabled")
    assert seen["supervisor"].starts_at_boot == "enabled" and not seen["ufw"].present


def test_supervisor_s_defaults_stand_where_its_files_say_nothing() -> None:
    seen = read("supervisor_files/typical")
    assert (seen["aiapp-8000"].autorestart, seen["aiapp-8000"].stop_as_group) == ("true", True)
    assert (seen["other"].autorestart, seen["other"].stop_as_group) == ("unexpected", False)


def test_addresses_of_the_server_itself_are_found() -> None:
    assert read("interface_addresses/typical") == ("192.168.121.4", "198.51.100.10", "2001:db8:100::10")


def test_supervisor_s_programs_have_their_states() -> None:
    supervisor = read("supervisor/running_and_fatal")
    states = {program.full_name: program.state for program in supervisor.programs}
    assert states == {"aiapp:aiapp-8000": "RUNNING", "bad": "FATAL"}
    assert [program.kills_group for program in supervisor.programs if program.group == "aiapp"] == [True]


def test_sshd_without_match_blocks_is_asked_once_for_all_accounts() -> None:
    (sshd,) = read("sshds/hardened").listening
    (case,) = sshd.cases
    assert (case.accounts, case.address, case.port) == ((), "", None)
    assert not case.passwords and case.settings["permitrootlogin"] == "no"
    assert (sshd.changed, sshd.since_start) == ((), False)
    assert read("sshds/none").listening == ()


def test_ssh_sessions_are_distinguished_from_listening_sshds() -> None:
    seen = read("sshds/with_a_login")
    assert [sshd.pid for sshd in seen.listening] == [257] and seen.sessions == {1924, 1930}


def test_sshd_file_that_changed_after_it_was_read_is_named() -> None:
    (sshd,) = read("sshds/not_reloaded").listening
    assert sshd.changed == ("/etc/ssh/sshd_config.d/", "/etc/ssh/sshd_config.d/50-cloud-init.conf")


def test_sshds_are_each_asked_with_the_arguments_that_they_were_started_with() -> None:
    first, second = read("sshds/two").listening
    assert (first.cases[0].passwords, first.since_start) == (frozenset(), False)
    assert (second.cases[0].passwords, second.since_start) == ({"password"}, True)


def test_match_blocks_are_asked_for_all_that_they_tell_apart() -> None:
    (sshd,) = read("sshds/match_blocks").listening
    allowed = {(one.accounts[0], one.address): one.passwords for one in sshd.cases}
    assert {account for account, _ in allowed} == {"root", "daemon", "transfer"}  # one for all that are alike
    assert allowed["transfer", "203.0.113.99"] == {"password"}
    assert allowed["daemon", "192.168.0.0"] == {"keyboard-interactive"}
    assert not allowed["daemon", "192.168.9.1"] and not allowed["root", "127.0.0.1"]
    named, others = read("sshds/match_port").listening[0].cases
    assert (named.port, named.passwords, others.port, others.passwords) == (2222, {"password"}, None, set())


def test_a_password_counts_only_where_it_can_be_tried_before_anything_else() -> None:
    after_a_key, instead_of_one, older = read("sshds/two_ways").listening[0].cases
    assert after_a_key.passwords == set()
    assert instead_of_one.passwords == older.passwords == {"keyboard-interactive"}


def test_a_store_is_known_without_its_password_and_whether_its_process_is_connected() -> None:
    seen = read("shared_stores/three_and_another")
    found = {(store.pid, store.variable): (store.place, store.connected) for store in seen}
    assert found == {
        (6, "REDIS_URL"): ("localhost:6379/0", True),
        (7, "REDIS_URL"): ("localhost:6379/0", True),
        (8, "REDIS_URL"): ("localhost:6379/0", False),
        (8, "BROKER_URL"): ("-", None),
        (8, "LOCAL"): ("/run/redis.sock", None),
        (9, "REDIS_URL"): ("localhost:6399/0", False),
        (9, "CACHE"): ("cache.example:11211/0", False),
    }
    assert read("shared_stores/none") == ()


def test_secrets_are_numbers_and_the_same_value_has_the_same_one() -> None:
    secrets = read("secrets/finished")
    (file,) = secrets.files
    assert (file.path, file.mode, file.owner) == ("/home/aiapp/app/.env", 0o600, "aiapp")
    workers = [holder for holder in secrets.holders if holder.program == "uvicorn"]
    assert [holder.secrets == file.secrets for holder in workers] == [True, True]
    assert set(file.secrets) == {"OPENAI_API_KEY", "DATABASE_URL", "API_KEYS"}
    assert not secrets.places and not secrets.unfinished


def test_secrets_that_leaked_are_reported_with_their_places() -> None:
    secrets = read("secrets/leaking")
    (file,) = secrets.files
    worker = next(holder for holder in secrets.holders if holder.program == "uvicorn")
    names = {number: name for name, number in worker.secrets.items()}
    assert worker.secrets["API_KEYS"] != file.secrets["API_KEYS"]  # replaced, and not restarted
    assert {(place.kind, place.where): {names[it] for it in place.secrets} for place in secrets.places} == {
        ("command line", "bash"): {"API_KEYS"},
        ("copy", "/tmp/.env.swp"): set(names.values()),
        ("history", "/home/vagrant/.bash_history"): {"OPENAI_API_KEY"},
        ("log", "/var/log/aiapp/app.log"): {"OPENAI_API_KEY"},
        ("repository", "/home/aiapp/app, .env"): set(names.values()),
    }


def test_processes_are_seen_with_the_logs_that_they_hold_and_their_last_lines() -> None:
    log_files = read("log_files/two_processes")
    names = [f"/var/log/aiapp/{name}.log" for name in ("app", "access", "error", "metrics")]
    for pid in (17, 25):
        assert {held.log for held in log_files.held if held.pid == pid and held.log} == set(names)
    assert not any(held.rotated for held in log_files.held)
    assert [len(log_files.lines.get(name, ())) for name in names] == [25, 11, 1, 0]
    assert log_files.files[names[0]].mode & 0o777 == 0o640 and log_files.files["/var/log/aiapp"].folder
    assert not log_files.open_to_everyone(names[0])


def test_process_that_holds_a_rotated_log_is_distinguished_from_one_that_writes_to_it() -> None:
    rotated = [held for held in read("log_files/after_a_rotation").held if held.rotated]
    assert {held.log.rpartition("/")[2] for held in rotated if held.pid == 17} == {"error.log", "metrics.log"}
    assert len(rotated) == 6 and not any(held.written_last for held in rotated)
    (stays, packed, text) = (held for held in read("log_files/one_stays_behind").held if held.log)
    assert (stays.path, stays.written_last) == ("/var/log/aiapp/app.log.1", True)
    assert (packed.path, packed.deleted, packed.written_last) == ("/var/log/aiapp/metrics.log.1", True, False)
    assert not text.rotated and read("log_files/one_stays_behind").texts == {"/var/log/aiapp/text.log"}


LOG = "/var/log/aiapp/app.log"


def test_logrotate_rule_is_what_logrotate_itself_says_of_it() -> None:
    rule, handled = read("rotation/in_order").find(LOG)
    assert (rule.every, rule.size, rule.at_least, rule.kept, rule.packs) == (86400, 100 << 20, None, 30, True)
    assert handled == Handled(LOG, moved=f"{LOG}.1", made=(0o640, 33, 33))
    assert {one.path for one in rule.logs} == {
        f"/var/log/aiapp/{name}.log" for name in ("access", "app", "error", "metrics")
    }


def test_a_log_that_no_run_has_met_is_not_known_and_one_that_is_due_is_read_all_the_same() -> None:
    rule, handled = read("rotation/due_and_not_seen_before").find(LOG)
    assert not handled.known and rule.packs


def test_logrotate_rule_that_names_its_logs_on_several_lines_is_one_rule() -> None:
    rotation = read("rotation/debian12_after_06")
    rule, _ = rotation.find("/var/log/unattended-upgrades/unattended-upgrades-dpkg.log")
    assert (rule.every, rule.kept, len(rule.logs)) == (31 * 86400, 6, 3)
    assert "\n" not in rule.pattern
    rule, _ = rotation.find(LOG)
    assert (rule.every, rule.size, rule.kept, rule.packs) == (86400, 100 << 20, 30, True)


@pytest.mark.parametrize(
    ("case", "limits", "handled"),
    [
        (
            "copytruncate_by_size",
            (None, 100 << 20, None, 30, True),
            Handled(LOG, known=False, copied=True, emptied=True),
        ),
        (
            "unlimited_nocreate",
            (7 * 86400, None, 100 << 20, None, False),
            Handled(LOG, known=False, moved=f"{LOG}.1"),
        ),
        (
            "dateext_made_for_root",
            (86400, 100 << 20, None, 30, True),
            Handled(LOG, moved=f"{LOG}-20261126", made=(0o640, 0, 4)),
        ),
        ("all_empty", (86400, 100 << 20, None, 30, None), Handled(LOG)),
    ],
)
def test_rotation_is_read_as_what_it_would_do(case: str, limits: tuple[Any, ...], handled: Handled) -> None:
    rule, said = read(f"rotation/{case}").find(LOG)
    assert (rule.every, rule.size, rule.at_least, rule.kept, rule.packs) == limits
    assert said == handled


def test_folder_that_logrotate_does_not_trust_is_its_reason_to_leave_a_log_alone() -> None:
    _, handled = read("rotation/insecure_folder").find(LOG)
    assert handled.refused.startswith("parent directory has insecure permissions")
    assert handled.refused.endswith(")")


@pytest.mark.parametrize(
    ("case", "says"),
    [("writable_by_group", "writable by group"), ("syntax_error", "unknown unit 'B'"), ("no_rule", "")],
)
def test_logrotate_says_why_it_takes_no_rule_from_a_file(case: str, says: str) -> None:
    rotation = read(f"rotation/{case}")
    assert rotation.find(LOG) is None and rotation.find("/var/log/dpkg.log")
    assert says in " ".join(rotation.problems)
    assert bool(rotation.problems) == bool(says)


def test_logrotate_without_rules_is_distinguished_from_no_logrotate() -> None:
    assert read("rotation/no_rules_at_all").installed and not read("rotation/no_rules_at_all").rules
    assert not read("rotation/not_installed").installed


def test_logs_that_are_empty_are_skipped_where_logrotate_says_so() -> None:
    assert read("rotation/in_order").find(LOG)[0].skips_empty
    rule, _ = read("rotation/debian12_by_days").find(LOG)
    assert (rule.kept, rule.packs, rule.skips_empty) == (None, True, False)  # rotate -1, ifempty


def test_logrotate_rule_s_days_are_read_from_its_file() -> None:
    assert read("ages/hand_made") == {
        "/var/log/aiapp/*.log": 30,
        "/var/log/plain.log": 90,  # as the first file says for all
        '"/var/log/my app/a.log" /var/log/b.log /var/log/c.log': 14,
    }
    assert read("ages/debian12_by_days")["/var/log/aiapp/*.log"] == 30
    assert read("ages/debian12_by_days")["/var/log/dpkg.log"] is None


HOUR = 3600


def test_timer_is_read_with_its_longest_gap_and_for_how_long_it_has_not_run() -> None:
    timer, cron = read("starters/hourly_timer")
    assert (timer.name, timer.off, timer.usual, timer.gap) == ("logrotate.timer", "", True, 2 * HOUR)
    assert timer.idle == 9000.5 - 7200 and not timer.failed and timer.at_boot
    assert cron.off == "it does nothing where systemd runs"


def test_cron_s_hourly_script_does_nothing_beside_a_daily_timer() -> None:
    timer, *crons = read("starters/daily_timer_and_idle_cron")
    assert (timer.gap, timer.failed) == (25 * HOUR, "exit-code")
    assert {cron.name: bool(cron.off) for cron in crons} == {
        "/etc/cron.daily/logrotate": True,
        "/etc/cron.hourly/logrotate": True,
    }


def test_a_timer_on_a_configuration_of_its_own_is_not_the_usual_one() -> None:
    usual, own = read("starters/a_timer_of_its_own")
    assert (usual.name, usual.off, usual.usual, usual.at_boot) == (
        "logrotate.timer",
        "it is inactive",
        True,
        False,
    )
    assert (own.name, own.off, own.usual, own.gap) == ("aiapp-logrotate.timer", "", False, 1860)
    assert read("starters/nothing_installed") == ()


def test_cron_counts_where_there_is_no_systemd_and_only_what_it_would_run() -> None:
    by_name = {
        starter.name: (starter.off, starter.usual, starter.gap, starter.idle)
        for starter in read("starters/cron_hourly")
    }
    assert by_name == {
        "/etc/cron.d/own": ("", False, 1200, 1800),
        "/etc/cron.hourly/logrotate": ("", True, HOUR, 1800),
        "/etc/cron.daily/logrotate": ("", True, 24 * HOUR, 1800),
    }
    assert [starter.idle for starter in read("starters/cron_daily")] == [None]


@pytest.mark.parametrize(
    ("schedule", "slack", "gap"),
    [
        (["{ OnCalendar=*-*-* *:00:00 ; next_elapse=n/a }"], ("1min", "0"), HOUR + 60),
        (["{ OnCalendar=*-*-* *:00:00 ; next_elapse=n/a }"], ("12h", "0"), 13 * HOUR),
        (["{ OnCalendar=*-*-* *:00/20:00 Europe/Berlin ; next_elapse=n/a }"], ("1min", "0"), 1260),
        (["{ OnCalendar=*-*-* 00/6:00:00 ; next_elapse=n/a }"], ("0", "30min"), 6 * HOUR + 1800),
        (["{ OnCalendar=*-*-* 08..18:00:00 ; next_elapse=n/a }"], ("0", "0"), 14 * HOUR),
        (["{ OnCalendar=*-*-* 6,18:00:00 ; next_elapse=n/a }"], ("0", "0"), 12 * HOUR),
        (["{ OnCalendar=Mon *-*-* *:00:00 ; next_elapse=n/a }"], ("0", "0"), 24 * HOUR),
        (
            [
                "{ OnCalendar=*-*-* 00:00:00 ; next_elapse=n/a }",
                "{ OnCalendar=*-*-* 12:00:00 ; next_elapse=n/a }",
            ],
            ("0", "0"),
            12 * HOUR,
        ),
        (["{ OnUnitInactiveUSec=1h 30min ; next_elapse=0 }", ""], ("1min", "0"), 5460),
        (["{ OnBootUSec=5min ; next_elapse=5min }"], ("1min", "0"), None),
        (["{ OnCalendar=*-*-* *:00:00 ; next_elapse=n/a }"], ("a while", "0"), None),
    ],
)
def test_schedule_counts_by_its_longest_gap_and_what_systemd_may_be_late_by(
    schedule: list[str], slack: tuple[str, str], gap: int | None
) -> None:
    assert gap_of_timer(schedule, *slack) == gap


# ---- Debian 13, set up as the chapters do: other versions of the programs, and the same values ----


def test_a_finished_debian_13_is_read_as_what_it_is() -> None:
    assert read("packet_filter/debian13_finished").drops == {4: True, 6: True}
    assert read("packet_filter/debian13_finished").rejects == {4: False, 6: False}
    assert read("packet_filter/debian13_finished").by_ufw
    assert read("firewall_files/debian13_finished").ufw_enabled
    sockets = {
        (s.address, s.port): s for s in read("listening_sockets/debian13_finished") if s.protocol == "tcp"
    }
    assert sockets["127.0.0.1", 8000].program == "uvicorn"
    assert sockets["0.0.0.0", 22].program == "sshd"  # though a login is served by sshd-session
    assert read("passwords/debian13_finished")["aiapp"] == "locked"
    assert read("sudo_rules/debian13_finished")["aiapp"] == ()
    units = read("units/debian13_finished")
    assert units["ufw"].starts_at_boot == units["supervisor"].starts_at_boot == "enabled"
    programs = read("supervisor/debian13_finished").programs
    assert {(one.full_name, one.state) for one in programs} == {
        (f"aiapp:aiapp-{port}", "RUNNING") for port in (8000, 8001, 8002)
    }
    assert {store.place for store in read("shared_stores/debian13_finished")} == {"localhost:6379/0"}


def test_openssh_10_is_read_as_what_it_allows() -> None:
    (sshd,) = read("sshds/debian13_finished").listening
    (case,) = sshd.cases
    assert case.passwords == frozenset() and case.settings["permitrootlogin"] == "no"
    assert sshd.changed == () and not sshd.since_start


def test_logrotate_3_22_says_its_limits_in_one_sentence() -> None:
    rotation = read("rotation/debian13_finished")
    rule, handled = rotation.find(LOG)
    assert (rule.every, rule.size, rule.at_least, rule.kept, rule.packs) == (86400, 100 << 20, None, 30, True)
    assert handled == Handled(LOG, moved=f"{LOG}.1", made=(0o640, 1001, 1001))
    rule, _ = rotation.find("/var/log/unattended-upgrades/unattended-upgrades-dpkg.log")
    assert (rule.every, rule.kept, len(rule.logs)) == (31 * 86400, 6, 3)
    timer, cron = read("starters/debian13_finished")
    assert (timer.name, timer.off, timer.gap) == ("logrotate.timer", "", HOUR + 60)
    assert cron.off == "it does nothing where systemd runs"


@pytest.mark.parametrize(
    ("printed", "kept", "size", "at_least"),
    [
        (
            "after 1 days empty log files are rotated, (30 rotations), old logs are removed after 7 days",
            30,
            None,
            None,
        ),
        ("weekly empty log files are rotated, no old logs will be kept", 0, None, None),
        ("monthly empty log files are rotated, old logs are kept forever", None, None, None),
        (
            "104857600 bytes empty log files are rotated, (30 rotations), old logs are removed",
            30,
            100 << 20,
            None,
        ),
        (
            "hourly empty log files are not rotated, only log files >= 1048576 bytes are rotated, "
            "log files >= 5242880 are rotated earlier, (3 rotations), old logs are removed",
            3,
            5 << 20,
            1 << 20,
        ),
        (
            "after 1 days olddir is /var/old, empty log files are rotated, old logs mailed to a@b, "
            "(unlimited rotations), old logs are removed after 7 days",
            None,
            None,
            None,
        ),
    ],
)
def test_rotation_limit_is_what_logrotate_3_22_calls_it(
    printed: str, kept: int | None, size: int | None, at_least: int | None
) -> None:
    """Each sentence as 3.22.0 printed it for a rule of that kind."""
    (rule,) = of_rule(printed).rules
    assert (rule.kept, rule.size, rule.at_least) == (kept, size, at_least)


def test_rotation_limit_in_other_words_is_unreadable_and_not_no_limit() -> None:
    with pytest.raises(Unreadable, match="a limit of logrotate is not understood: 'thirty are kept'"):
        of_rule("weekly empty log files are rotated, thirty are kept, old logs are removed")


def of_rule(limits: str) -> Any:
    """What is read of a logrotate with one rule, of which it says this."""
    parts = [
        f"reading x\n\nHandling 1 logs\n\nrotating pattern: /x.log {words}\nconsidering log /x.log\n"
        for words in (limits, f"forced from command line {limits.partition('empty')[2]}")
    ]
    return FACTS["rotation"].parse(Result(f"{parts[0]}== normal 0\n{parts[1]}== forced 0\n", "", 0))


# ---- the JSON of the remote programs -----------------------------------------------------------

# What the programs print beside what is read here: for themselves, or of a target's other labels.
NOT_READ = {"names_alertmanager", "starting", "__name__"}


def leaves(value: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """Where a value stands that is no collection."""
    if isinstance(value, dict):
        return [leaf for name, each in value.items() for leaf in leaves(each, (*path, name))]
    if isinstance(value, list):
        return [leaf for number, each in enumerate(value) for leaf in leaves(each, (*path, number))]
    return [path]


@pytest.mark.parametrize("case", ["monitoring/debian12_finished", "secrets/debian12_after_06"])
def test_json_with_one_value_of_another_type_is_unreadable_wherever_it_stands(case: str) -> None:
    result = record.from_text((HERE / "recordings" / f"{case}.txt").read_text(encoding="utf-8"))
    fact = FACTS[case.partition("/")[0]]
    printed = json.loads(result.stdout)
    paths = [path for path in leaves(printed) if not NOT_READ & set(path)]
    assert len(paths) > 20
    taken = []
    for *above, last in paths:
        wrong = copy.deepcopy(printed)
        inner = wrong
        for step in above:
            inner = inner[step]
        inner[last] = {"of": ["another", "type"]}
        try:
            fact.parse(replace(result, stdout=json.dumps(wrong)))
        except Unreadable:
            continue
        taken.append((*above, last))
    assert not taken
