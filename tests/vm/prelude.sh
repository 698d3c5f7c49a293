#!/bin/bash
# What the mutants wait with: each runs behind this, in the same shell.
set -euo pipefail

# soon COMMAND…: until it succeeds, for three minutes at most: three processes start for one of them, emulated.
soon() {
  local end=$((SECONDS + 180))
  until "$@"; do
    ((SECONDS < end)) || { echo "still not, after 180 s: $*" >&2; return 1; }
    sleep 0.5
  done
}

# Every process is RUNNING, and what it depends on has been looked at since it started.
app_is_well() {
  local name state _
  while read -r name state _; do
    [[ $state == RUNNING && $(curl -s "http://127.0.0.1:${name##*-}/health") == '{"status":"healthy"'* ]] || return
  done < <(supervisorctl status 'aiapp:*')
}

# The issuer of its certificate.
caddy_answers() { curl -skf -o /dev/null --connect-to "::127.0.0.1:${1:-443}" https://app.lab.example/health/live; }

# answers PORT: an instance of the application of its own.
answers() { curl -sf -o /dev/null "http://127.0.0.1:$1/health/live"; }

listens() { ss -Hltn "sport = :$1" | grep -q .; }

# resolves TYPE ADDRESS: it is among what the world's resolver gives.
resolves() { dig +short app.lab.example "$1" | grep -qxF "$2"; }

# effective LINE: sshd would go by it if it read its files now.
effective() { sshd -T | grep -x "$1" > /dev/null; }

# later_than FILE: the second in which it was written has passed.
later_than() { (($(date +%s) > $(stat -c %Y "$1"))); }

# as_app COMMAND…: by the application's account, in its folder, with a name for git.
as_app() {
  runuser -u aiapp -- env -C /home/aiapp/app HOME=/home/aiapp GIT_AUTHOR_NAME=Lab GIT_AUTHOR_EMAIL=lab@lab.example \
    GIT_COMMITTER_NAME=Lab GIT_COMMITTER_EMAIL=lab@lab.example "$@"
}
