# fab -H shop.example.com deploy --release 2026.11.2
from shlex import quote

from fabric import task

OUTCOMES = {3: "was rolled back", 4: "is held: see `cutover status`"}


@task
def deploy(c, release, migrate=""):
    command = f"cutover deploy spare --release {quote(release)} --prepare 'systemctl restart \"shop-$CUTOVER_POOL\"'"
    if migrate:
        command += f" --hold --migrate {quote(migrate)}"
    exit_code = c.run(command, warn=True).exited
    if exit_code:
        raise SystemExit(f"{release} {OUTCOMES.get(exit_code, 'was not deployed')}")
