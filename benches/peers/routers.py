"""The routers, each set up for the same work: a sticky 90/10 split over two targets that are checked, the same headers
towards them, time-outs, and HTTP/1.1 and, by TLS, HTTP/2 from visitors."""

import json
from dataclasses import dataclass

FORWARDED = {
    "X-Forwarded-Proto": "http",
    "X-Cutover-Release": "1",
}


@dataclass
class Place:
    """Where a router stands, and what it works with."""

    folder: object
    plain: str
    tls: str
    admin: str
    targets: tuple
    certificate: object
    key: object
    workers: int = 1
    services: int = 0  # one for each host instead of the split, where it is not 0


def host(number):
    return f"s{number}.example"


def cutover(place, programs):
    services = []
    for number in range(place.services):
        services.append(f"""
[[service]]
name = "s{number}"
hosts = ["{host(number)}"]
health.interval = "60s"
[service.pool.server0]
targets = ["{place.targets[0]}"]
[service.pool.server1]
targets = ["{place.targets[1]}"]
""")
    split = f"""
[[service]]
name = "site"
live = "server0"
[service.pool.server0]
targets = ["{place.targets[0]}"]
release = "1"
[service.pool.server1]
targets = ["{place.targets[1]}"]
release = "2"
[service.rollout]
steps = [ {{ weight = 10, hold = "8h" }} ]
"""
    (place.folder / "cutover.toml").write_text(f"""
[server]
listen = ["{place.plain}"]
workers = {place.workers}
[server.tls]
listen = ["{place.tls}"]
certificates = [ {{ chain = "{place.certificate}", key = "{place.key}" }} ]
[server.limits]
connections_per_client = 0
[admin]
listen = "{place.admin}"
[state]
path = "{place.folder}/cutover.db"
{"".join(services) if services else split}""")
    return [programs["cutover"], "run", "--config", place.folder / "cutover.toml"], {}


def haproxy(place, programs):
    told = """  http-request set-header X-Forwarded-For %[src]
  http-request set-header X-Forwarded-Proto http
  http-request set-header X-Forwarded-Host %[req.hdr(host)]
  http-request set-header Forwarded "for=%[src];proto=http;host=\\"%[req.hdr(host)]\\""
  http-request set-header X-Real-IP %[src]
  http-request set-header X-Request-Id %[uuid()]
"""
    pool = lambda number, name, check="1s": f"""
  http-request set-header X-Cutover-Pool server{number}
  http-request set-header X-Cutover-Release {number + 1}
  server {name} {place.targets[number]} check inter {check}"""
    if place.services:
        hosts = place.folder / "hosts.map"
        hosts.write_text("".join(f"{host(number)} s{number}\n" for number in range(place.services)))
        routes = f"  use_backend %[req.hdr(host),lower,map({hosts})]\n"
        backends = "".join(f"backend s{number}{pool(0, 'stable', '60s')}\n" for number in range(place.services))
    else:
        routes = """  use_backend server1 if { req.cook(cohort) -m str canary }
  use_backend server0 if { req.cook(cohort) -m str stable }
  use_backend server1 if { rand(100) lt 10 }
  default_backend server0
"""
        backends = "".join(
            f"backend server{number}\n  cookie cohort insert indirect nocache httponly{pool(number, name)} cookie {name}\n"
            for number, name in enumerate(("stable", "canary"))
        )
    both = place.folder / "haproxy.pem"
    both.write_text(place.certificate.read_text() + place.key.read_text())
    (place.folder / "haproxy.cfg").write_text(f"""
global
  nbthread {place.workers}
  maxconn 19000
  no strict-limits
  tune.ssl.default-dh-param 2048
defaults
  mode http
  maxconn 19000
  timeout client 75s
  timeout server 60s
  timeout connect 2s
  timeout http-request 10s
  timeout http-keep-alive 75s
  http-reuse always
frontend site
  bind {place.plain}
  bind {place.tls} ssl crt {both} alpn h2,http/1.1
{told}{routes}
{backends}""")
    return [programs["haproxy"], "-db", "-f", place.folder / "haproxy.cfg"], {}


def nginx(place, programs):
    headers = """
      proxy_http_version 1.1;
      proxy_set_header Connection "";
      proxy_set_header Host $http_host;
      proxy_set_header X-Forwarded-For $remote_addr;
      proxy_set_header X-Forwarded-Proto http;
      proxy_set_header X-Forwarded-Host $http_host;
      proxy_set_header Forwarded "for=$remote_addr;proto=http;host=\\"$http_host\\"";
      proxy_set_header X-Real-IP $remote_addr;
      proxy_set_header X-Request-Id $request_id;
      proxy_set_header X-Cutover-Pool $pool;
      proxy_set_header X-Cutover-Release $release;
      add_header Set-Cookie $newcomer;"""
    kept = "keepalive 1024; keepalive_requests 100000000;"
    if place.services:
        hosts = "".join(f"{host(number)} s{number};" for number in range(place.services))
        pools = f'map $http_host $pool {{ default ""; {hosts} }} map $pool $release {{ default 1; }}'
        pools += ' map $pool $newcomer { default ""; }'
        for number in range(place.services):
            pools += f" upstream s{number} {{ server {place.targets[0]}; {kept} }}"
    else:
        pools = """
  map $cookie_visitor $visitor { "" $request_id; default $cookie_visitor; }
  split_clients $visitor $pool { 10% server1; * server0; }
  map $pool $release { server1 2; default 1; }
  map $cookie_visitor $newcomer { "" "visitor=$request_id; Path=/; HttpOnly; SameSite=Lax"; default ""; }"""
        for number, target in enumerate(place.targets):
            pools += f" upstream server{number} {{ server {target}; {kept} }}"
    temporary = "".join(
        f"{kind}_temp_path {place.folder}/nginx;" for kind in ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
    )
    (place.folder / "nginx.conf").write_text(f"""
worker_processes {place.workers};
worker_rlimit_nofile 20000;
daemon off;
pid {place.folder}/nginx.pid;
error_log stderr;
events {{ worker_connections 19000; }}
http {{
  access_log off;
  keepalive_requests 100000000;
  variables_hash_max_size 65536; map_hash_max_size 262144; map_hash_bucket_size 128;
  {temporary}
  {pools}
  server {{
    listen {place.plain} backlog=4096;
    listen {place.tls} ssl http2 backlog=4096;
    http2_max_concurrent_streams 128;
    ssl_certificate {place.certificate};
    ssl_certificate_key {place.key};
    ssl_session_cache shared:tls:10m;
    location / {{
      proxy_pass http://$pool;
      {headers}
    }}
  }}
}}
""")
    return [programs["nginx"], "-p", place.folder, "-c", place.folder / "nginx.conf"], {}


def envoy(place, programs):
    address = lambda text: {"socket_address": {"address": text.split(":")[0], "port_value": int(text.split(":")[1])}}
    kind = lambda name: f"type.googleapis.com/envoy.{name}"
    manager = {
        "@type": kind("extensions.filters.network.http_connection_manager.v3.HttpConnectionManager"),
        "stat_prefix": "site",
        "use_remote_address": True,
        "generate_request_id": True,
        "stream_idle_timeout": "60s",
        "request_headers_timeout": "10s",
        "common_http_protocol_options": {"idle_timeout": "75s"},
        "http_filters": [
            {"name": "router", "typed_config": {"@type": kind("extensions.filters.http.router.v3.Router")}}
        ],
        "route_config": {
            "virtual_hosts": [
                {
                    "name": "site",
                    "domains": ["*"],
                    "request_headers_to_add": [
                        {"header": {"key": "X-Real-IP", "value": "%DOWNSTREAM_REMOTE_ADDRESS_WITHOUT_PORT%"}},
                        {"header": {"key": "X-Cutover-Release", "value": "1"}},
                    ],
                    "routes": [
                        {
                            "match": {"prefix": "/"},
                            "route": {
                                "cluster": "site",
                                "timeout": "60s",
                                "hash_policy": [{"cookie": {"name": "cohort", "ttl": "2592000s", "path": "/"}}],
                            },
                        }
                    ],
                }
            ]
        },
    }
    filters = [{"name": "http", "typed_config": manager}]
    tls = {
        "name": "tls",
        "typed_config": {
            "@type": kind("extensions.transport_sockets.tls.v3.DownstreamTlsContext"),
            "common_tls_context": {
                "alpn_protocols": ["h2", "http/1.1"],
                "tls_certificates": [
                    {
                        "certificate_chain": {"filename": str(place.certificate)},
                        "private_key": {"filename": str(place.key)},
                    }
                ],
            },
        },
    }
    endpoints = [
        {"endpoint": {"address": address(target)}, "load_balancing_weight": weight}
        for target, weight in zip(place.targets, (90, 10))
    ]
    config = {
        "admin": {"address": address(place.admin)},
        "static_resources": {
            "listeners": [
                {"name": "plain", "address": address(place.plain), "filter_chains": [{"filters": filters}]},
                {
                    "name": "tls",
                    "address": address(place.tls),
                    "filter_chains": [{"filters": filters, "transport_socket": tls}],
                },
            ],
            "clusters": [
                {
                    "name": "site",
                    "connect_timeout": "2s",
                    "type": "STATIC",
                    "lb_policy": "MAGLEV",
                    "circuit_breakers": {"thresholds": [{"max_connections": 65536, "max_pending_requests": 65536, "max_requests": 65536}]},
                    "health_checks": [
                        {
                            "timeout": "0.5s",
                            "interval": "1s",
                            "unhealthy_threshold": 3,
                            "healthy_threshold": 2,
                            "tcp_health_check": {},
                        }
                    ],
                    "load_assignment": {"cluster_name": "site", "endpoints": [{"lb_endpoints": endpoints}]},
                }
            ],
        },
    }
    (place.folder / "envoy.json").write_text(json.dumps(config))
    command = [programs["envoy"], "-c", place.folder / "envoy.json", "--concurrency", place.workers]
    return [*command, "--disable-hot-restart", "--log-level", "warning"], {}


def traefik(place, programs):
    static = {
        "entryPoints": {"plain": {"address": place.plain}, "tls": {"address": place.tls}},
        "providers": {"file": {"filename": str(place.folder / "sites.yml")}},
        "log": {"level": "ERROR"},
        "metrics": {"prometheus": {}},
        "global": {"checkNewVersion": False, "sendAnonymousUsage": False},
    }
    pool = lambda number: {
        "loadBalancer": {
            "servers": [{"url": f"http://{place.targets[number]}"}],
            "healthCheck": {"path": "/", "interval": "1s", "timeout": "500ms"},
        }
    }
    weighted = {
        "services": [{"name": "server0", "weight": 9}, {"name": "server1", "weight": 1}],
        "sticky": {"cookie": {"name": "cohort", "httpOnly": True}},
        "healthCheck": {},
    }
    route = {"rule": "PathPrefix(`/`)", "service": "site", "middlewares": ["told"]}
    sites = {
        "http": {
            "routers": {
                "plain": {**route, "entryPoints": ["plain"]},
                "tls": {**route, "entryPoints": ["tls"], "tls": {}},
            },
            "middlewares": {"told": {"headers": {"customRequestHeaders": FORWARDED}}},
            "services": {"server0": pool(0), "server1": pool(1), "site": {"weighted": weighted}},
        },
        "tls": {"certificates": [{"certFile": str(place.certificate), "keyFile": str(place.key)}]},
    }
    # Read as YAML, of which JSON is a part.
    (place.folder / "traefik.yml").write_text(json.dumps(static))
    (place.folder / "sites.yml").write_text(json.dumps(sites))
    return [programs["traefik"], f"--configFile={place.folder}/traefik.yml"], {"GOMAXPROCS": str(place.workers)}


def caddy(place, programs):
    site = f"""
  reverse_proxy {" ".join(place.targets)} {{
    lb_policy cookie cohort secret {{
      fallback weighted_round_robin 9 1
    }}
    health_uri /
    health_interval 1s
    health_timeout 500ms
    header_up X-Real-IP {{remote_host}}
    header_up X-Request-Id {{http.request.uuid}}
    header_up X-Cutover-Release 1
    transport http {{
      dial_timeout 2s
      response_header_timeout 30s
      keepalive_idle_conns_per_host 1024
    }}
  }}"""
    (place.folder / "Caddyfile").write_text(f"""
{{
  admin {place.admin}
  auto_https off
  persist_config off
  metrics
  servers {{
    timeouts {{
      read_header 10s
      idle 75s
    }}
  }}
}}
http://:{place.plain.split(":")[1]} {{
  bind 127.0.0.1{site}
}}
https://:{place.tls.split(":")[1]} {{
  bind 127.0.0.1
  tls {place.certificate} {place.key}{site}
}}
""")
    environment = {"GOMAXPROCS": str(place.workers), "XDG_DATA_HOME": str(place.folder), "HOME": str(place.folder)}
    return [programs["caddy"], "run", "--config", place.folder / "Caddyfile", "--adapter", "caddyfile"], environment


def pingora(place, programs):
    words = [place.workers, place.plain, place.tls, place.certificate, place.key, *place.targets]
    return [programs["pingora"], *words], {}


def relay(place, programs):
    return [programs["relay"], place.plain, place.targets[0]], {}


ALL = {
    "cutover": cutover,
    "HAProxy": haproxy,
    "nginx": nginx,
    "Envoy": envoy,
    "Traefik": traefik,
    "Caddy": caddy,
    "Pingora": pingora,
    "relay": relay,
}
