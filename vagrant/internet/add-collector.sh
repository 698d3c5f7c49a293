#!/bin/bash
# add-collector.sh ROOT: Bugsink into a root file system in the making, in a virtual environment of its own, with
# its databases' tables made. pip asks the same index as the computer that builds, and trusts the same authorities.
set -euo pipefail
here=$(dirname "$(realpath "$0")")
root=$1 place=/srv/errors

settings=(HOME=/root PATH="$PATH" LC_ALL=C.UTF-8)
for name in PIP_INDEX_URL PIP_EXTRA_INDEX_URL PIP_TRUSTED_HOST PIP_PROXY PIP_DEFAULT_TIMEOUT http_proxy https_proxy no_proxy; do
  value=${!name:-}
  if [ -n "$value" ] && [[ $value != *file:* ]]; then settings+=("$name=$value"); fi
done
# Where this runs in a guest, the host's settings lie beside it, as the Vagrantfile wrote them.
for file in "$here/../host/pip.conf" /etc/pip.conf; do
  if [ -s "$file" ]; then
    install -m 644 "$file" "$root/tmp/pip.conf"
    settings+=(PIP_CONFIG_FILE=/tmp/pip.conf)
    break
  fi
done
cat "$root/etc/ssl/certs/ca-certificates.crt" /usr/local/share/ca-certificates/*.crt "$here"/../host/authorities/*.crt \
  > "$root/tmp/authorities.pem" 2> /dev/null || [ -s "$root/tmp/authorities.pem" ]

install -d "$root$place/empty"
install -m 644 "$here/errors/requirements.lock" "$here/errors/bugsink_conf.py" "$here/errors/prepare.py" "$root$place"
inside() { env -i "${settings[@]}" PIP_CERT=/tmp/authorities.pem chroot "$root" "$@"; }
inside python3 -m venv $place/venv
inside $place/venv/bin/pip install --quiet --disable-pip-version-check --no-deps --require-hashes -r $place/requirements.lock
for database in default snappea; do
  inside env STATE_DIRECTORY=$place/empty COLLECTOR_NAME=collector PYTHONPATH=$place DJANGO_SETTINGS_MODULE=bugsink_conf \
    $place/venv/bin/bugsink-manage migrate --verbosity 0 --database $database
done
chmod -R u=rwX,go=rX "$root$place"
rm -rf "$root/tmp/pip.conf" "$root/tmp/authorities.pem" "$root/root/.cache"
