"""What came out, as tables and as a chart."""

from cases import CASES
from load import median

BASE = "HAProxy"
MARKS = ("<!-- peers -->", "<!-- /peers -->")
IDLE_CASES = ("idle", "idle-tls")


def middle(results, case, router, of):
    rounds = results.get(case, {}).get(router)
    return median([of(measured) for measured in rounds]) if rounds else float("nan")


def ratio(results, case, router, of):
    """Of what was measured in turns: the median of the rounds' ratios. What else a machine does lasts longer than a turn, and
    so is in both."""
    of_all = results.get(case, {})
    rounds = zip(of_all.get(router, []), of_all.get(BASE, []))
    return median([of(own) / of(base) for own, base in rounds if of(base)])


def cell(value, digits=2):
    return "" if value != value else f"{value:.{digits}f}"


def table(head, rows):
    lines = ["| " + " | ".join(["", *head]) + " |", "|---" * (len(head) + 1) + "|"]
    lines += ["| " + " | ".join(row) + " |" for row in rows]
    return "\n".join(lines)


def tables(results, routers):
    """Ratios to HAProxy, and memory."""
    parts = []
    measures = [
        ("Requests per second, to HAProxy's", lambda measured: measured.rate, ("half", *IDLE_CASES)),
        ("Processor time for a request, to HAProxy's", lambda measured: measured.cpu, IDLE_CASES),
        ("99th percentile of the latency, to HAProxy's", lambda measured: measured.latency.get("p99", float("nan")), IDLE_CASES),
    ]
    for title, of, without in measures:
        cases = [case for case in results if case not in without and middle(results, case, BASE, of) > 0]
        rows = [[CASES[case].title, *(cell(ratio(results, case, router, of)) for router in routers)] for case in cases]
        if rows:
            parts.append(f"{title}:\n\n{table(routers, rows)}")
    rows = [
        [CASES[case].title, *(cell(middle(results, case, router, lambda measured: measured.memory) / 1024, 1) for router in routers)]
        for case in IDLE_CASES
        if case in results
    ]
    if "http1-512" in results:
        memory = lambda router: middle(results, "http1-512", router, lambda measured: measured.memory) / 2**20
        rows.append(["in all, behind 512 connections (MiB)", *(cell(memory(router), 0) for router in routers)])
    if rows:
        parts.append(f"Memory, KiB:\n\n{table(routers, rows)}")
    wrong = [
        f"{router} in {CASES[case].title}: {sum(measured.errors for measured in rounds)}"
        for case, of_all in results.items()
        for router, rounds in of_all.items()
        if sum(measured.errors for measured in rounds)
    ]
    parts.append("Requests that failed: " + ("; ".join(wrong) or "none") + ".")
    return "\n\n".join(parts)


def details(results):
    """All medians as they were measured."""
    lines = []
    for case, of_all in results.items():
        lines.append(CASES[case].title)
        for router in of_all:
            get = lambda of: middle(results, case, router, of)
            late = " ".join(
                f"{name} {get(lambda measured: measured.latency.get(name, float('nan'))) * 1000:.2f} ms"
                for name in ("p50", "p99", "p999")
            )
            lines.append(
                f"  {router:8} {get(lambda m: m.rate):10.0f}/s {get(lambda m: m.cpu) * 1e6:8.1f} µs  {late}"
                f"  {get(lambda m: m.memory) / 1024:10.1f} KiB"
            )
    return "\n".join(lines)


STYLE = """<style>
text { font: 13px sans-serif; fill: #24292f } .dim { fill: #57606a } .own { fill: #0969da } .other { fill: #afb8c1 }
.base { stroke: #57606a; stroke-dasharray: 3 3 }
@media (prefers-color-scheme: dark) { text { fill: #e6edf3 } .dim { fill: #8d96a0 } .own { fill: #2f81f7 }
.other { fill: #484f58 } .base { stroke: #8d96a0 } }
</style>"""


def chart(results, routers):
    """Requests per second of each router in each case, to HAProxy's."""
    rate = lambda measured: measured.rate
    shown = lambda case: case != "half" and not case.startswith("services") and middle(results, case, BASE, rate) > 0
    cases = [case for case in results if shown(case)]
    columns, wide, row, group = 2, 520, 18, len(routers) * 18 + 34
    height = group * ((len(cases) + columns - 1) // columns)
    out = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {wide * columns} {height}" role="img" '
        f'aria-label="Requests per second of each router, to those of HAProxy">{STYLE}'
    ]
    for number, case in enumerate(cases):
        left, top = wide * (number % columns), group * (number // columns)
        out.append(f'<text x="{left + 90}" y="{top + 18}" font-weight="bold">{CASES[case].title}</text>')
        scale = 300 / max(1.3, *(ratio(results, case, router, rate) or 0 for router in routers if ratio(results, case, router, rate) == ratio(results, case, router, rate)))
        y = top + 26
        for router in routers:
            value = ratio(results, case, router, rate)
            if value != value:
                continue
            kind = "own" if router == "cutover" else "other"
            out.append(f'<text x="{left + 82}" y="{y + 13}" text-anchor="end">{router}</text>')
            out.append(f'<rect class="{kind}" x="{left + 90}" y="{y + 2}" width="{value * scale:.1f}" height="14"/>')
            out.append(f'<text class="dim" x="{left + 96 + value * scale:.1f}" y="{y + 13}">{value:.2f}</text>')
            y += row
        line = left + 90 + scale
        out.append(f'<line class="base" x1="{line:.1f}" x2="{line:.1f}" y1="{top + 24}" y2="{y}"/>')
    return "\n".join([*out, "</svg>\n"])


def put_into(file, text):
    """Puts the tables between the marks of a file."""
    whole = file.read_text()
    before, rest = whole.split(MARKS[0], 1)
    _, after = rest.split(MARKS[1], 1)
    file.write_text(f"{before}{MARKS[0]}\n{text}\n{MARKS[1]}{after}")
