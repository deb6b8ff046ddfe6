"""Load generators, and what they say."""

import json
import pathlib
import statistics
import subprocess
from dataclasses import dataclass

from machine import LOAD_CORE


@dataclass
class Load:
    """What came of a load: requests answered, how many went wrong, seconds that it took, and latencies in seconds."""

    requests: int
    errors: int
    seconds: float
    latency: dict

    @property
    def rate(self):
        return self.requests / self.seconds


def on_load_core(command):
    return ["taskset", "-c", str(LOAD_CORE), *map(str, command)]


def run(command):
    done = subprocess.run(on_load_core(command), capture_output=True, text=True)
    if done.returncode:
        raise RuntimeError(f"{' '.join(map(str, command))}:\n{done.stdout}{done.stderr}")
    return done.stdout


WRK = """
local requests, next = {}, 0
function init(arguments)
  for line in io.lines(arguments[1]) do
    local host, cookie = line:match("^(%S+) ?(.*)$")
    requests[#requests + 1] = wrk.format("GET", arguments[2], { Host = host, Cookie = cookie ~= "" and cookie or nil })
  end
end
function request()
  next = next % #requests + 1
  return requests[next]
end
function done(summary, latency)
  local errors = summary.errors
  io.write("JSON", string.format(
    '{"requests":%d,"errors":%d,"us":%d,"p50":%d,"p99":%d,"p999":%d}', summary.requests,
    errors.connect + errors.read + errors.write + errors.status + errors.timeout, summary.duration,
    latency:percentile(50), latency:percentile(99), latency:percentile(99.9)), "\\n")
end
"""


def wrk(program, folder, url, visitors, connections, seconds, path="/"):
    """Keep-alive requests of visitors: a file with a host and a cookie in each line."""
    script = folder / "visitors.lua"
    script.write_text(WRK)
    out = run([program, "-t1", f"-c{connections}", f"-d{seconds}s", "--latency", "-s", script, url, "--", visitors, path])
    said = json.loads(next(line[4:] for line in out.splitlines() if line.startswith("JSON")))
    latency = {name: said[name] / 1e6 for name in ("p50", "p99", "p999")}
    return Load(said["requests"], said["errors"], said["us"] / 1e6, latency)


def h2load(program, folder, url, clients, streams, seconds, cookie=None, rate=None):
    """Requests by HTTP/2, or as fast as `rate` a second by HTTP/1.1."""
    log = folder / "h2load.tsv"
    log.unlink(missing_ok=True)
    command = [program, "-t1", f"-c{clients}", f"-D{seconds}", f"--log-file={log}"]
    command += ["--h1", f"--rps={rate / clients:.3f}"] if rate else [f"-m{streams}"]
    command += ["-H", f"cookie: {cookie}"] if cookie else []
    run([*command, url])
    good, bad, times = 0, 0, []
    with log.open() as lines:
        for line in lines:
            _, status, took = line.split("\t")
            if status == "200":
                good += 1
                times.append(int(took))
            else:
                bad += 1
    times.sort()
    at = lambda share: times[min(len(times) - 1, int(share * len(times)))] / 1e6 if times else float("nan")
    return Load(good, bad, seconds, {"p50": at(0.5), "p99": at(0.99), "p999": at(0.999)})


def handshakes(program, address, resumed, seconds, lanes=16):
    """Connections by TLS with one request on each."""
    said = run([program, address, lanes, seconds, "resumed" if resumed else "new"]).split()
    made, again, failed = int(said[1]), int(said[3]), int(said[5])
    # The first of each lane can't be resumed.
    strange = failed if not resumed else failed + max(0, made - again - lanes)
    return Load(made, strange, seconds, {})


class Idle:
    """Connections that were answered once, and are kept open while this is in use."""

    def __init__(self, program, address, count, secure):
        command = on_load_core([program, address, count, *(["tls"] if secure else [])])
        self.process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        self.count = count

    def __enter__(self):
        said = self.process.stdout.readline().split()
        if said != ["open", str(self.count)]:
            raise RuntimeError(f"only {said} of {self.count} connections were answered")
        return self

    def __exit__(self, *_):
        self.process.stdin.close()
        self.process.wait()


def median(values):
    values = [value for value in values if value == value]
    return statistics.median(values) if values else float("nan")


def visitors_file(file: pathlib.Path, lines):
    file.write_text("".join(f"{line}\n" for line in lines))
    return file
