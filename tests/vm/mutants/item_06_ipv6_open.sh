#!/bin/bash
# item: 6
# depth: look
# looks right because: ufw status says active, and the scan over IPv4 finds nothing
# but: the rules for IPv6 are not in the kernel
# says: lets everything in over IPv6
# also: none
set -euo pipefail
ip6tables -P INPUT ACCEPT
ip6tables -F INPUT
