#!/bin/bash
# quicken-emulation.sh: where QEMU emulates the processor, every program at the same addresses at every start.
# QEMU keeps its translation of a program by address: with random ones it translates anew at each start, and to
# start one takes three times as long (measured: 40 ms and 13 ms). A real processor keeps the protection.
set -euo pipefail
setting=/etc/sysctl.d/60-emulated-processor.conf
# What is nearest counts: in a container on an emulated machine, the kernel is that machine's and not the server's.
[ "$(systemd-detect-virt)" = qemu ] && [ ! -e $setting ] || exit 0
echo "quickening the emulated processor"
install -m 644 /dev/stdin $setting <<'END'
# The lab put this here because this server's processor is emulated: programs start three times as fast.
# On a real server addresses stay random: they are a protection against attacks.
kernel.randomize_va_space = 0
END
sysctl --quiet --load $setting
