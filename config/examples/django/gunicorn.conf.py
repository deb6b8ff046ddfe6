"""How gunicorn runs a copy of the site. The name of the copy's folder says which one it is."""

from pathlib import Path

PORTS = {"server0": 9000, "server1": 9001}

wsgi_app = "station.wsgi"
bind = f"127.0.0.1:{PORTS[Path.cwd().name]}"
workers = 2
pidfile = "gunicorn.pid"  # `kill -HUP $(cat gunicorn.pid)` loads the code anew, without closing the port
control_socket_disable = True  # it would be one for both copies
accesslog = "access.log"
# What the router says of each request, beside the usual.
access_log_format = '%(t)s "%(r)s" %(s)s pool=%({x-cutover-pool}i)s release=%({x-cutover-release}i)s'
