"""Compares cutover with other routers, in turns, in one run; each has one worker on one core, the load and the targets the
other. Programs that are missing are installed by apt-get and pip, or built.

    python3 benches/peers                                   all cases, 5 rounds of 3 s each: three quarters of an hour
    python3 benches/peers --only http1-64 tls --rounds 1    some of them
    python3 benches/peers --write                           puts tables and chart into the README

CUTOVER=path takes another binary than target/release/cutover. Where other work can't be stopped, `nice -n -19` before it
keeps that out of the figures.
"""

import argparse
import pathlib
import signal
import subprocess
import sys
import tempfile
from dataclasses import dataclass, field

import machine
import report
from cases import CASES, Origin, Router
from routers import ALL


@dataclass
class World:
    programs: dict
    seconds: int
    results: dict = field(default_factory=dict)


def options():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=int, default=3)
    parser.add_argument("--only", nargs="+", choices=CASES, default=list(CASES), metavar="CASE", help=", ".join(CASES))
    parser.add_argument("--routers", nargs="+", choices=ALL, default=list(ALL), metavar="NAME", help=", ".join(ALL))
    parser.add_argument("--write", action="store_true", help="put tables and chart into the README")
    return parser.parse_args()


def main():
    asked = options()
    if "HAProxy" not in asked.routers:
        sys.exit("HAProxy is what the others are compared with; name it too")
    if asked.write and (set(asked.only) != set(CASES) or set(asked.routers) != set(ALL)):
        sys.exit("the README shows all cases of all routers: --write goes with neither --only nor --routers")
    if "half" in asked.only and "http1-64" not in asked.only:
        sys.exit("the case half needs http1-64 before it")
    # What was started ends with this program, however it ends.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))
    machine.check()
    world = World(machine.install(), asked.seconds)
    with tempfile.TemporaryDirectory() as folder:
        folder = pathlib.Path(folder)
        folder.chmod(0o755)
        certificate, key = folder / "site.pem", folder / "site.key"
        make = ["req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days", "7"]
        name = ["-subj", "/CN=shop.example", "-addext", "subjectAltName=DNS:shop.example,IP:127.0.0.1"]
        subprocess.run(
            [world.programs["openssl"], *make, *name, "-out", certificate, "-keyout", key],
            check=True,
            stderr=subprocess.DEVNULL,
        )
        origin = Origin(world.programs, folder / "origin")
        try:
            fresh = [case for case in asked.only if CASES[case].fresh]
            alone = [case for case in asked.only if CASES[case].alone]
            others = [case for case in asked.only if case not in fresh + alone]
            for kind in dict.fromkeys(CASES[case].kind for case in others):
                cases = [case for case in others if CASES[case].kind == kind]
                compare(world, asked, asked.routers, cases, kind, folder, (origin, certificate, key))
            for case in fresh:
                compare(world, asked, asked.routers, [case], CASES[case].kind, folder / case, (origin, certificate, key))
            for case in alone:
                for router in asked.routers:
                    compare(world, asked, [router], [case], CASES[case].kind, folder / case, (origin, certificate, key))
        finally:
            origin.program.end()
    print(report.details(world.results))
    routers = [router for router in ALL if router in asked.routers]
    text = report.tables(world.results, routers)
    print(f"\n{text}")
    if asked.write:
        report.put_into(machine.ROOT / "README.md", text)
        (machine.ROOT / "benches" / "peers.svg").write_text(report.chart(world.results, routers))


def compare(world, asked, routers, cases, kind, folder, common):
    """All cases for one kind of these routers, which run side by side and are loaded in turns."""
    wanted = [
        name
        for name in routers
        if any((not CASES[case].only or name in CASES[case].only) and (name != "relay" or CASES[case].relay) for case in cases)
    ]
    if not wanted:
        return
    workers, services = kind
    running = []
    try:
        for name in wanted:
            place = folder / f"{name}-{workers}-{services}"
            running.append(Router(name, world.programs, place, *common, workers=workers, services=services))
        for name in cases:
            case = CASES[name]
            of_all = world.results.setdefault(name, {})
            if case.alone:
                # So that no round is spent on opening the connections.
                for router in running:
                    case.load(router, world)
            for _ in range(1 if case.fresh else asked.rounds):
                for router in running:
                    if (case.only and router.name not in case.only) or (router.name == "relay" and not case.relay):
                        continue
                    of_all.setdefault(router.name, []).append(case.load(router, world))
            rates = "  ".join(f"{router} {report.cell(report.ratio(world.results, name, router, lambda m: m.rate))}" for router in of_all)
            print(f"{case.title}: {rates}", file=sys.stderr)
    finally:
        for router in running:
            router.program.end()


main()
