"""What is measured: each case of a router is a load on it, and what it used for that."""

import http.client
import subprocess
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace

from load import Idle, handshakes, h2load, median, visitors_file, wrk
from machine import LOAD_CORE, ROUTER_CORE, Program, free_port
from routers import ALL, Place, host

HOST = "shop.example"
VISITORS = 200
IDLE = 10_000


@dataclass
class Measured:
    """What a router did in one round of a case. Latencies in seconds, memory in bytes."""

    rate: float = float("nan")
    cpu: float = float("nan")  # seconds of processor time for a request
    latency: dict = field(default_factory=dict)
    memory: float = float("nan")  # in use behind the load; of one connection, where idle ones are held
    errors: int = 0


class Router:
    """A router that runs."""

    def __init__(self, name, programs, folder, origin, certificate, key, workers=1, services=0):
        self.name, self.folder = name, folder
        folder.mkdir(parents=True)
        ports = [f"127.0.0.1:{free_port()}" for _ in range(3)]
        self.place = Place(folder, *ports, origin.addresses, certificate, key, workers, services)
        command, environment = ALL[name](self.place, programs)
        cores = [ROUTER_CORE] if workers == 1 else [ROUTER_CORE, LOAD_CORE]
        self.program = Program(name, command, cores, folder, environment)
        try:
            self.get_ready(programs)
        except BaseException:
            self.program.end()
            raise

    def get_ready(self, programs):
        """Waits until it splits visitors, and gets the cookies of some."""
        name, services, folder = self.name, self.place.services, self.folder
        asked = host(0) if services else HOST
        self.program.answers(f"http://{self.place.plain}/", asked, 120)
        if name == "cutover" and not services:
            self.split(programs["cutover"])
        self.newcomers = visitors_file(folder / "newcomers", [HOST])
        if services:
            self.visitors = visitors_file(folder / "visitors", [host(number) for number in range(services)])
        elif name == "relay":
            self.visitors = self.newcomers
        else:
            # A candidate gets visitors when it has passed its checks.
            until = time.monotonic() + 10
            while not self.cookie() and time.monotonic() < until:
                time.sleep(0.1)
            self.cookies = [self.cookie() for _ in range(VISITORS)]
            if not all(self.cookies):
                raise RuntimeError(f"{name} gave a new visitor no cookie")
            self.visitors = visitors_file(folder / "visitors", [f"{HOST} {cookie}" for cookie in self.cookies])

    def split(self, program):
        """Begins the rollout that splits the visitors."""
        command = [program, "--admin", f"http://{self.place.admin}", "rollout", "start", "server1"]
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL)

    def cookie(self):
        """The cookie that a new visitor gets."""
        address, port = self.place.plain.split(":")
        connection = http.client.HTTPConnection(address, int(port), timeout=10)
        connection.request("GET", "/", headers={"Host": HOST})
        answer = connection.getresponse()
        answer.read()
        connection.close()
        cookies = [value for name, value in answer.getheaders() if name.lower() == "set-cookie"]
        if answer.status != 200:
            raise RuntimeError(f"{self.name} answered a new visitor {answer.status}")
        return cookies[0].split(";")[0] if cookies else None

    def measure(self, load):
        before = self.program.used()
        done = load()
        used = self.program.used() - before
        return Measured(
            done.rate, used / max(1, done.requests), done.latency, self.program.resident(), done.errors
        )

    def idle(self, programs, secure):
        before = self.program.resident()
        with Idle(programs["idle"], self.place.tls if secure else self.place.plain, IDLE, secure):
            # Idle is who has asked for nothing for some seconds.
            time.sleep(5)
            return Measured(memory=(self.program.resident() - before) / IDLE)


class Origin:
    """The targets: one server behind two addresses, with bodies of 1 KiB, 64 KiB and 10 MiB."""

    def __init__(self, programs, folder):
        folder.mkdir()
        self.addresses = tuple(f"127.0.0.1:{free_port()}" for _ in range(2))
        for name, size in (("64k", 64 * 1024), ("10m", 10 * 1024 * 1024)):
            (folder / name).write_bytes(b"x" * size)
        temporary = "".join(
            f"{kind}_temp_path {folder};" for kind in ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
        )
        (folder / "origin.conf").write_text(f"""
worker_processes 1;
daemon off;
pid {folder}/origin.pid;
error_log stderr;
events {{ worker_connections 19000; }}
http {{
  access_log off; sendfile on; tcp_nodelay on; open_file_cache max=16;
  keepalive_requests 100000000;
  {temporary}
  server {{
    {"".join(f"listen {address} backlog=4096;" for address in self.addresses)}
    root {folder};
    default_type text/plain;
    location = / {{ return 200 "{"x" * 1024}"; }}
  }}
}}
""")
        command = [programs["nginx"], "-p", folder, "-c", folder / "origin.conf"]
        self.program = Program("origin", command, [LOAD_CORE], folder)
        self.program.answers(f"http://{self.addresses[0]}/")


def keep_alive(connections, path="/", secure=False, newcomers=False):
    def load(router, world):
        scheme, address = ("https", router.place.tls) if secure else ("http", router.place.plain)
        who = router.newcomers if newcomers else router.visitors
        return router.measure(
            lambda: wrk(world.programs["wrk"], router.folder, f"{scheme}://{address}/", who, connections, world.seconds, path)
        )

    return load


def http2(clients, streams):
    def load(router, world):
        url = f"https://{router.place.tls}/"
        return router.measure(
            lambda: h2load(world.programs["h2load"], router.folder, url, clients, streams, world.seconds, router.cookies[0])
        )

    return load


def half_rate(router, world):
    best = median([measured.rate for measured in world.results["http1-64"]["HAProxy"]])
    url = f"http://{router.place.plain}/"
    cookie = None if router.name == "relay" else router.cookies[0]
    return router.measure(
        lambda: h2load(world.programs["h2load"], router.folder, url, 64, 1, world.seconds, cookie, best / 2)
    )


def beside(router, world):
    """Small answers while others download as fast as they can; these alone are measured."""
    small = lambda: h2load(
        world.programs["h2load"], router.folder, f"http://{router.place.plain}/", 8, 1, world.seconds, router.cookies[0], 200
    )
    with ThreadPoolExecutor() as at_once:
        downloads = at_once.submit(keep_alive(16, path="/10m"), router, replace(world, seconds=world.seconds + 1))
        time.sleep(0.5)
        measured = small()
        downloads.result()
    return Measured(latency=measured.latency, errors=measured.errors)


def shakes(resumed):
    def load(router, world):
        program = world.programs["handshakes"]
        return router.measure(lambda: handshakes(program, router.place.tls, resumed, world.seconds))

    return load


def idle(secure):
    return lambda router, world: router.idle(world.programs, secure)


@dataclass
class Case:
    """A load; for which kind of routers it is, and whether it is for the relay too. A `fresh` case is one round with routers
    of its own: what earlier loads have left in their memory would hide what this one takes. `alone` no other router runs
    beside it: each keeps a connection to the target for each service, and those of all would be more than that can have."""

    title: str
    load: object
    kind: tuple = (1, 0)  # workers and services
    relay: bool = False
    only: tuple = ()
    fresh: bool = False
    alone: bool = False


CASES = {
    "http1-64": Case("HTTP/1.1, 64 connections", keep_alive(64), relay=True),
    "http1-512": Case("HTTP/1.1, 512 connections", keep_alive(512), relay=True),
    "new": Case("HTTP/1.1, new visitors", keep_alive(64, newcomers=True)),
    "tls": Case("TLS, 64 connections", keep_alive(64, secure=True)),
    "shakes": Case("TLS, full handshakes", shakes(False)),
    "resumed": Case("TLS, resumed handshakes", shakes(True)),
    "h2-32": Case("HTTP/2, 10 × 32 streams", http2(10, 32)),
    "h2-100": Case("HTTP/2, 10 × 100 streams", http2(10, 100)),
    "64k": Case("answers of 64 KiB", keep_alive(64, path="/64k"), relay=True),
    "10m": Case("answers of 10 MiB", keep_alive(16, path="/10m"), relay=True),
    "beside": Case("small answers beside downloads", beside),
    "half": Case("half of HAProxy's best rate", half_rate, relay=True),
    "idle": Case("an idle connection", idle(False), fresh=True),
    "idle-tls": Case("an idle connection by TLS", idle(True), fresh=True),
    "two": Case("two workers on two cores", keep_alive(64), (2, 0)),
    "services-1": Case("1 service", keep_alive(64), (1, 1), only=("cutover", "HAProxy", "nginx")),
    "services-100": Case("100 services", keep_alive(64), (1, 100), only=("cutover", "HAProxy", "nginx")),
    "services-10000": Case("10,000 services", keep_alive(64), (1, 10_000), only=("cutover", "HAProxy", "nginx"), alone=True),
}
