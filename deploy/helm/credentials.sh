#!/usr/bin/env bash
# SPDX-FileCopyrightText: 2026 The Dragoman Authors
# SPDX-License-Identifier: Apache-2.0
#
# credentials.sh HOME: prints the Secrets and the ConfigMap of an installation's identities, from the keys in HOME/keys,
# which `dragoman --home HOME operator add NAME` makes. Nothing is kept: pipe it into `kubectl -n NAMESPACE apply -f -`.
# The operators' and the user tokens' private keys stay where they are.
set -euo pipefail

keys=${1:?usage: credentials.sh HOME}/keys
[ -f "$keys/trust.json" ] || { echo "credentials.sh: $keys holds no trust.json" >&2; exit 1; }

entry() { printf '  %s: %s\n' "$1" "$(base64 -w 0 <"$2")"; }
secret() { # NAME KEY FILE
    printf -- '---\napiVersion: v1\nkind: Secret\nmetadata: {name: %s}\nimmutable: true\ndata:\n' "$1"
    entry "$2" "$3"
}

for service in gateway tokenizer registry worker launcher monitor autoscaler; do
    secret "dragoman-key-$service" "$service.pem" "$keys/$service.pem"
done
secret dragoman-signing signing.pem "$keys/signing.pem"
printf -- '---\napiVersion: v1\nkind: ConfigMap\nmetadata: {name: dragoman-trust}\nbinaryData:\n'
entry trust.json "$keys/trust.json"
entry signing.pub.pem "$keys/signing.pub.pem"
entry users.jwks.json "$keys/user-tokens.jwks.json"
