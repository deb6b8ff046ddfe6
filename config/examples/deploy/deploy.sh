#!/bin/sh
# Deploys a release to the pool that is not live. Usage: deploy.sh RELEASE [OPTION OF cutover deploy]…
# Exit code: 0 it is live, 1 it failed, 3 it was rolled back, 4 its rollout is held and waits for a person.
# Run it again after a break, with the same release: it goes on where it was.
set -eu

release=$1
shift

# The single quotes keep these for the shell that cutover starts: it sets CUTOVER_POOL, CUTOVER_TARGETS and others.
prepare=${PREPARE:-'rsync -a "build/$CUTOVER_RELEASE/" "/srv/$CUTOVER_POOL/" && systemctl restart "shop-$CUTOVER_POOL"'}
smoke='for target in $CUTOVER_TARGETS; do curl -fsS -m 10 -o /dev/null "http://$target/"; done'

# With MIGRATE set, such as to "/srv/\$CUTOVER_POOL/manage.py migrate", requests wait while it runs.
exec cutover deploy spare --release "$release" \
    --prepare "$prepare" --gate-command "set -e; $smoke" \
    ${MIGRATE:+--hold --migrate "$MIGRATE"} "$@"
