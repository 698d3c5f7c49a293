#!/bin/bash
# item: 8
# depth: look
# looks right because: .env is in no branch's files, and .gitignore names it
# but: it was committed once, and the history keeps it
# says: are in the repository /home/aiapp/app, \.env
# also: none
set -euo pipefail
as_app git add -f .env
as_app git commit -qm 'Settings for the server'
as_app git rm -q --cached .env
as_app git commit -qm 'Settings do not belong here'
[[ -z $(as_app git ls-files .env) ]]
