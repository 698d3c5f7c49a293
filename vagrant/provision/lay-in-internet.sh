#!/bin/bash
# lay-in-internet.sh: configuration, programs and keys of the stand-in internet, when they changed.
set -euo pipefail
here=$(dirname "$(realpath "$0")")
source=$here/../internet
# shellcheck source=vagrant/lab.env
. "$here/../lab.env"
lib=/usr/local/lib/shipshape
units=/usr/local/lib/systemd/system
inside=/run/shipshape/internet

stamp=$lib/internet.sha256
login=/home/vagrant/.ssh/authorized_keys
hash=$(cd "$here/.." && find lab.env internet provision/lay-in-internet.sh "$login" -type f -not -path '*/repository/*' -not -path '*/releases/*' \
  -exec sha256sum {} + | sort | sha256sum)
if [ -e $stamp ] && [ "$(cat $stamp)" = "$hash" ]; then
  mountpoint --quiet $inside || systemctl start run-shipshape-internet.mount
  exit 0
fi
rm -f $stamp

echo "laying in the stand-in internet"
install -d $lib $units/multi-user.target.wants
install -m 644 "$here/../lab.env" $lib/lab.env
install -m 755 "$source/server/raise-wire" "$source/server/lab-ready" "$source/server/new-server" $lib
install -m 644 "$source"/server/*.service "$source"/server/*.mount $units
ln -sf ../shipshape-internet.service ../shipshape-reference.service $units/multi-user.target.wants/
install -D -m 644 "$source/server/resolved.conf" /usr/local/lib/systemd/resolved.conf.d/provider.conf
systemctl daemon-reload
systemctl restart systemd-resolved
mountpoint --quiet $inside || systemctl start run-shipshape-internet.mount

# Names and addresses come from lab.env alone.
fill=$(sed -n 's/^\([A-Z0-9_]*\)=\(.*\)$/s|@\1@|\2|g/p' "$here/../lab.env")
fill() { sed "$fill" "$source/inside/$1" > "$inside/$2"; }

install -d $inside/srv/llm $inside/srv/alerts $inside/srv/reference $inside/srv/git $inside/root/.ssh
fill knot.conf etc/knot/knot.conf
fill unbound.conf etc/unbound/unbound.conf
fill Caddyfile etc/caddy/Caddyfile
fill errors.service etc/systemd/system/errors.service
fill sshd.conf etc/ssh/sshd_config.d/lab.conf
fill llm.service etc/systemd/system/llm.service
fill alerts.service etc/systemd/system/alerts.service
install -m 644 "$source/llm.py" $inside/srv/llm/llm.py
install -m 644 "$source/alerts.py" $inside/srv/alerts/alerts.py
install -m 644 "$source/inside/reference.py" "$source/inside/reference.nft" $inside/srv/reference
install -m 600 $login $inside/root/.ssh/authorized_keys

# Every program there asks the resolver. The certificate authority asks the domain's own servers, as the real ones do:
# an old answer in a cache must not decide whether a certificate is given.
printf 'nameserver %s\nnameserver %s\n' "$LAB_RESOLVER_IPV4" "$LAB_RESOLVER_IPV6" > $inside/etc/resolv.conf
printf 'nameserver %s\n' "$LAB_AUTHORITY_IPV4" > $inside/etc/resolv.authority
install -d $inside/etc/systemd/system/{caddy,unbound,knot}.service.d
printf '[Unit]\nAfter=knot.service\n\n[Service]\nBindReadOnlyPaths=/etc/resolv.authority:/etc/resolv.conf\nRestart=on-failure\n' \
  > $inside/etc/systemd/system/caddy.service.d/lab.conf
printf '[Unit]\nAfter=knot.service\n\n[Service]\nExecStartPre=\nRestart=always\n' > $inside/etc/systemd/system/unbound.service.d/lab.conf
printf '[Service]\nRestart=always\n' > $inside/etc/systemd/system/knot.service.d/lab.conf
# What a container of this kind has no use for costs seconds of its boot.
chroot $inside systemctl --quiet mask console-getty getty.target systemd-logind e2scrub_reap apt-daily.timer apt-daily-upgrade.timer \
  fstrim.timer e2scrub_all.timer dpkg-db-backup.timer systemd-networkd systemd-udevd systemd-udev-trigger
chroot $inside systemctl --quiet enable knot unbound caddy ssh llm alerts

if ! [ -e $inside/etc/ssh/ssh_host_ed25519_key ]; then
  chroot $inside ssh-keygen -q -t ed25519 -N '' -C internet -f /etc/ssh/ssh_host_ed25519_key
fi

if ! [ -e $inside/root/provider.key ]; then
  secret=$(chroot $inside openssl rand -base64 32)
  printf 'key:\n  - id: provider\n    algorithm: hmac-sha256\n    secret: %s\n' "$secret" > $inside/etc/knot/provider.conf
  chroot $inside chown root:knot /etc/knot/provider.conf
  chmod 640 $inside/etc/knot/provider.conf
  install -m 600 /dev/stdin $inside/root/provider.key <<< "hmac-sha256:provider:$secret"
fi

# The zone is replaced where ours has changed, and the records that the learner has entered are kept.
fill lab.zone root/lab.zone.new
if ! cmp -s $inside/root/lab.zone.new $inside/root/lab.zone; then
  zone=$inside/var/lib/knot/$LAB_DOMAIN.zone
  entered=
  if [ -e "$zone" ]; then entered=$(sed -n "/^${LAB_APP_NAME//./\\.}\.[[:space:]]/p" "$zone"); fi
  { cat $inside/root/lab.zone.new && printf '%s\n' "$entered"; } | install -m 644 /dev/stdin "$zone"
  chroot $inside chown -R knot:knot /var/lib/knot
  mv $inside/root/lab.zone.new $inside/root/lab.zone
fi
rm -f $inside/root/lab.zone.new

# Root and intermediate are made here rather than by Caddy: so that they outlive any snapshot.
authority=/var/lib/caddy/.local/share/caddy/pki/authorities/local
if ! [ -e $inside$authority/intermediate.crt ]; then
  install -d -m 700 $inside$authority
  install -m 644 "$source/inside/authority.cnf" $inside$authority/authority.cnf
  chroot $inside bash -euc "
    cd $authority
    openssl req -x509 -config authority.cnf -extensions root -subj '/CN=Lab Encrypt Root' -days 3650 \
      -newkey ec -pkeyopt ec_paramgen_curve:P-256 -noenc -keyout root.key -out root.crt 2> /dev/null
    openssl req -new -config authority.cnf -subj '/CN=Lab Encrypt Intermediate' \
      -newkey ec -pkeyopt ec_paramgen_curve:P-256 -noenc -keyout intermediate.key -out request 2> /dev/null
    openssl x509 -req -in request -CA root.crt -CAkey root.key -CAcreateserial -days 1825 \
      -extfile authority.cnf -extensions intermediate -out intermediate.part 2> /dev/null
    cat root.crt >> /etc/ssl/certs/ca-certificates.crt
    cp root.crt /usr/local/share/ca-certificates/lab-internet.crt
    ln -sf /usr/local/share/ca-certificates/lab-internet.crt /etc/ssl/certs/\$(openssl x509 -hash -noout -in root.crt).0
    mv intermediate.part intermediate.crt
    rm -f request root.srl
    chown -R caddy:caddy /var/lib/caddy"
fi

# The collector of errors came with the disk; it is started by the chapter that needs it.
install -m 644 "$source"/errors/*.py $inside/srv/errors
install -m 755 "$source/errors/event" "$source/errors/issues" "$source/errors/latest" $inside/srv/errors

# What is running has read the old configuration.
systemctl try-restart shipshape-wire shipshape-internet shipshape-reference
echo "$hash" > $stamp
