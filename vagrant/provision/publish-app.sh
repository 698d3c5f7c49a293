#!/bin/bash
# publish-app.sh: the learner's repository on the git host: what this checkout's lab_app and chapters are now, as a commit,
# and what a colleague made of it since, a tag each: the patches of internet/releases, one upon the other.
set -euo pipefail
here=$(dirname "$(realpath "$0")")
inside=/run/shipshape/internet

stamp=/usr/local/lib/shipshape/app.sha256
hash=$(cd "$here/.." && find lab_app documents internet/repository internet/releases provision/publish-app.sh -type f -exec sha256sum {} + | sort | sha256sum)
if [ -e $stamp ] && [ "$(cat $stamp)" = "$hash" ]; then exit 0; fi

echo "publishing the application's repository"
rm -rf $inside/root/app $inside/root/releases
mkdir $inside/root/app
cp -r "$here/../internet/releases" $inside/root/releases
cp -r "$here/../internet/repository/." "$here/../lab_app" "$here/../documents" $inside/root/app
chmod -R u=rwX,go=rX $inside/root/app
# Git is not on the server: it is bare. Author, date and so the commit's name are the same everywhere.
# shellcheck disable=SC2016  # the shell inside expands these
chroot $inside bash -euc '
  export HOME=/root LC_ALL=C.UTF-8 GIT_DIR=/srv/git/you/app.git GIT_WORK_TREE=/root/app
  export GIT_AUTHOR_NAME=Lab GIT_AUTHOR_EMAIL=lab@lab.example GIT_AUTHOR_DATE=2026-01-01T09:00:00Z
  export GIT_COMMITTER_NAME=Lab GIT_COMMITTER_EMAIL=lab@lab.example GIT_COMMITTER_DATE=2026-01-01T09:00:00Z
  [ -e $GIT_DIR/HEAD ] || env -u GIT_WORK_TREE git init --quiet --bare --initial-branch=main $GIT_DIR
  cd /root/app
  git symbolic-ref HEAD refs/heads/main  # also where the last time broke off in the middle
  git add --all
  if git rev-parse --quiet --verify HEAD > /dev/null; then message="Bring the application up to date"; else message="An AI application"; fi
  git diff --cached --quiet || git commit --quiet --message "$message"
  git checkout --quiet --detach
  for patch in /root/releases/*.patch; do
    git apply --index "$patch"
    git commit --quiet --message "$(basename "$patch" .patch)"
    git tag --force "$(basename "$patch" .patch)" > /dev/null
  done
  git checkout --quiet main
  # Served as plain files: these two are what a clone reads first.
  git repack -adq
  git update-server-info
  rm -rf /root/app /root/releases'
chmod -R go=rX $inside/srv/git
echo "$hash" > $stamp
