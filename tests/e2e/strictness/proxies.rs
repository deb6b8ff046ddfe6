//! The proxies that are compared, each as it comes, but for what its documentation has for an edge.

use crate::harness::{Router, SHORT, Setup, free_address, until};
use std::net::SocketAddr;
use std::path::Path;
use std::process::{Child, Command, Stdio};

/// What visitors speak, and what the target does. Without TLS, and without asking first.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Protocols {
    Http1,
    Http2ToHttp1,
    Http2,
}
use Protocols::{Http1, Http2, Http2ToHttp1};

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    Cutover,
    HaProxy,
    Envoy,
    Nginx,
}

impl Kind {
    pub const ALL: [Self; 4] = [Self::Cutover, Self::HaProxy, Self::Envoy, Self::Nginx];

    /// Whether it speaks them.
    pub fn speaks(self, protocols: Protocols) -> bool {
        self != Self::Nginx || protocols != Http2
    }

    pub fn name(self) -> &'static str {
        match self {
            Self::Cutover => "cutover",
            Self::HaProxy => "HAProxy",
            Self::Envoy => "Envoy",
            Self::Nginx => "nginx",
        }
    }
}

/// A proxy that runs until it is dropped.
pub struct Proxy {
    pub address: SocketAddr,
    _running: (Option<Router>, Option<Other>),
}

/// A proxy that is not ours.
struct Other(Child);

impl Drop for Other {
    fn drop(&mut self) {
        // A signal that can be caught, for nginx has a process below this one.
        let _ = Command::new("kill").arg(self.0.id().to_string()).status();
        let _ = self.0.wait();
    }
}

impl Proxy {
    /// Starts one before this target, with a folder of its own.
    pub async fn start(kind: Kind, protocols: Protocols, target: SocketAddr, folder: &Path) -> Self {
        let listen = free_address();
        let mut command = match kind {
            Kind::Cutover => {
                let pools = [("server0", target, "r0"), ("server1", free_address(), "r1")];
                let protocol = if protocols == Http2 { "protocol = \"h2\"" } else { "" };
                let router = Router::start(Setup::with_pools(&pools).pool_keys(protocol).one_worker()).await;
                return Self { address: router.address(), _running: (Some(router), None) };
            }
            Kind::HaProxy => haproxy(folder, protocols, listen, target),
            Kind::Envoy => envoy(folder, protocols, listen, target),
            Kind::Nginx => nginx(folder, protocols, listen, target),
        };
        let other = Other(command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap());
        until("the other proxy listens", SHORT, async || tokio::net::TcpStream::connect(listen).await.is_ok()).await;
        Self { address: listen, _running: (None, Some(other)) }
    }
}

/// With the client's address told as an edge does.
fn haproxy(folder: &Path, protocols: Protocols, listen: SocketAddr, target: SocketAddr) -> Command {
    let config = folder.join("haproxy.cfg");
    let (visitors, targets) = match protocols {
        Http1 => ("", ""),
        Http2ToHttp1 => ("proto h2", ""),
        Http2 => ("proto h2", "proto h2"),
    };
    let text = format!(
        "defaults\n  mode http\n  option forwardfor\n  timeout client 5s\n  timeout connect 2s\n  timeout server 5s\n\
         listen site\n  bind {listen} {visitors}\n  server origin {target} {targets}\n"
    );
    std::fs::write(&config, text).unwrap();
    let mut command = Command::new("haproxy");
    command.arg("-db").arg("-f").arg(config);
    command
}

/// The client's address is its own finding, names with underscores are refused. It tells the protocols apart by itself.
fn envoy(folder: &Path, protocols: Protocols, listen: SocketAddr, target: SocketAddr) -> Command {
    let config = folder.join("envoy.json");
    let address = |at: SocketAddr| serde_json::json!({"socket_address": {"address": at.ip().to_string(), "port_value": at.port()}});
    let manager = serde_json::json!({
        "@type": "type.googleapis.com/envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager",
        "stat_prefix": "site",
        "use_remote_address": true,
        "common_http_protocol_options": {"headers_with_underscores_action": "REJECT_REQUEST"},
        "route_config": {"virtual_hosts": [{
            "name": "site", "domains": ["*"],
            "routes": [{"match": {"prefix": ""}, "route": {"cluster": "origin"}}],
        }]},
        "http_filters": [{"name": "envoy.filters.http.router", "typed_config": {
            "@type": "type.googleapis.com/envoy.extensions.filters.http.router.v3.Router"}}],
    });
    let spoken = if protocols == Http2 { "http2_protocol_options" } else { "http_protocol_options" };
    let text = serde_json::json!({"static_resources": {
        "listeners": [{"address": address(listen), "filter_chains": [{"filters": [{
            "name": "envoy.filters.network.http_connection_manager", "typed_config": manager}]}]}],
        "clusters": [{"name": "origin", "type": "STATIC", "connect_timeout": "2s",
            "typed_extension_protocol_options": {"envoy.extensions.upstreams.http.v3.HttpProtocolOptions": {
                "@type": "type.googleapis.com/envoy.extensions.upstreams.http.v3.HttpProtocolOptions",
                "explicit_http_config": {spoken: {}}}},
            "load_assignment": {
            "cluster_name": "origin",
            "endpoints": [{"lb_endpoints": [{"endpoint": {"address": address(target)}}]}]}}],
    }});
    std::fs::write(&config, text.to_string()).unwrap();
    let program = std::env::var("ENVOY").unwrap_or_else(|_| "envoy".into());
    let mut command = Command::new(program);
    command.args(["--concurrency", "1", "--disable-hot-restart", "-l", "error", "-c"]).arg(config);
    command
}

/// With the client's address told as an edge does, by HTTP/1.1 on kept connections.
fn nginx(folder: &Path, protocols: Protocols, listen: SocketAddr, target: SocketAddr) -> Command {
    let config = folder.join("nginx.conf");
    let spoken = if protocols == Http1 { "" } else { "http2" };
    let at = folder.display();
    let text = format!(
        "daemon off; worker_processes 1; pid {at}/nginx.pid; error_log stderr;\n\
         events {{ }}\n\
         http {{\n  access_log off;\n  client_body_temp_path {at}/body; proxy_temp_path {at}/proxy;\n\
         fastcgi_temp_path {at}/fastcgi; uwsgi_temp_path {at}/uwsgi; scgi_temp_path {at}/scgi;\n\
         client_header_timeout 5s; client_body_timeout 5s; proxy_connect_timeout 2s; proxy_read_timeout 5s;\n\
         upstream origin {{ server {target} max_fails=0; keepalive 16; }}\n\
         server {{\n  listen {listen} {spoken};\n  location / {{\n    proxy_pass http://origin; proxy_http_version 1.1;\n\
         proxy_set_header Connection \"\"; proxy_set_header Host $http_host; proxy_set_header X-Forwarded-For $remote_addr;\n\
         }} }} }}\n"
    );
    std::fs::write(&config, text).unwrap();
    let mut command = Command::new("nginx");
    command.arg("-p").arg(folder).arg("-c").arg(config);
    command
}
