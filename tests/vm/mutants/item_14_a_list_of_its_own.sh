#!/bin/bash
# item: 14
# depth: exercise
# looks right because: curl on the server reaches the collector, and trusts it
# but: the library goes by its own list of authorities, and drops every error
# says: its certificate is not trusted
# also: none
set -euo pipefail
sed -i '/^SSL_CERT_FILE=/d' /home/aiapp/app/.env
supervisorctl restart 'aiapp:*'
soon app_is_well
