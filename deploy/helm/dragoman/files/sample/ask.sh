# SPDX-FileCopyrightText: 2026 The Dragoman Authors
# SPDX-License-Identifier: Apache-2.0
#
# Asks the sample model 20 texts whose labels are known. A worker may have yet to load it: two minutes.
set -eu
cd /etc/dragoman/sample
tries=0
until answers=$(dragoman predict sample <texts.txt); do
    tries=$((tries + 1))
    [ "$tries" -lt 60 ] || exit 1
    sleep 2
done
printf '%s\n' "$answers" | cut -f1 >/tmp/answers
diff labels.txt /tmp/answers
echo "$(date -u +%T) 20 of 20 right"
