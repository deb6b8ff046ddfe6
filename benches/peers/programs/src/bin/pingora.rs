//! The split that is compared, as a program of the Pingora crate: nine visitors of ten to the first target, the tenth to
//! the second, each by its cookie from then on.
//!
//!     pingora THREADS PLAIN TLS CERTIFICATE KEY TARGET0 TARGET1

use async_trait::async_trait;
use pingora::Result;
use pingora::http::{RequestHeader, ResponseHeader};
use pingora::lb::{LoadBalancer, health_check::TcpHealthCheck, selection::RoundRobin};
use pingora::listeners::tls::TlsSettings;
use pingora::proxy::{ProxyHttp, Session, http_proxy_service};
use pingora::server::Server;
use pingora::server::configuration::ServerConf;
use pingora::services::background::background_service;
use pingora::upstreams::peer::HttpPeer;
use std::env;
use std::sync::Arc;
use std::time::Duration;

type Fault = Box<dyn std::error::Error>;

const COOKIES: [&str; 2] = ["cohort=stable", "cohort=canary"];

struct Site([Arc<LoadBalancer<RoundRobin>>; 2]);

/// Where a request goes, and whether its visitor is new.
#[derive(Default)]
struct Drawn {
    pool: usize,
    new: bool,
}

#[async_trait]
impl ProxyHttp for Site {
    type CTX = Drawn;

    fn new_ctx(&self) -> Drawn {
        Drawn::default()
    }

    async fn upstream_peer(&self, session: &mut Session, drawn: &mut Drawn) -> Result<Box<HttpPeer>> {
        let cookies = session.req_header().headers.get("cookie").and_then(|cookies| cookies.to_str().ok());
        let known = cookies.and_then(|cookies| COOKIES.iter().position(|cookie| cookies.contains(cookie)));
        drawn.new = known.is_none();
        drawn.pool = known.unwrap_or_else(|| usize::from(rand::random_ratio(1, 10)));
        let target = self.0[drawn.pool].select(b"", 1);
        let target = target.ok_or_else(|| pingora::Error::explain(pingora::ErrorType::ConnectNoRoute, "no target"))?;
        let mut peer = HttpPeer::new(target, false, String::new());
        peer.options.connection_timeout = Some(Duration::from_secs(2));
        peer.options.read_timeout = Some(Duration::from_secs(60));
        peer.options.write_timeout = Some(Duration::from_secs(60));
        peer.options.idle_timeout = Some(Duration::from_secs(4));
        Ok(Box::new(peer))
    }

    async fn upstream_request_filter(
        &self,
        session: &mut Session,
        request: &mut RequestHeader,
        drawn: &mut Drawn,
    ) -> Result<()> {
        let client =
            session.client_addr().and_then(|address| address.as_inet()).map(|address| address.ip().to_string());
        let client = client.unwrap_or_default();
        let host = request.headers.get("host").and_then(|host| host.to_str().ok()).unwrap_or_default().to_owned();
        request.insert_header("X-Forwarded-For", &client)?;
        request.insert_header("X-Forwarded-Proto", "http")?;
        request.insert_header("X-Forwarded-Host", &host)?;
        request.insert_header("Forwarded", format!("for={client};proto=http;host=\"{host}\""))?;
        request.insert_header("X-Real-IP", &client)?;
        request.insert_header("X-Request-Id", format!("{:032x}", rand::random::<u128>()))?;
        request.insert_header("X-Cutover-Pool", ["server0", "server1"][drawn.pool])?;
        request.insert_header("X-Cutover-Release", ["1", "2"][drawn.pool])?;
        Ok(())
    }

    async fn response_filter(&self, _: &mut Session, response: &mut ResponseHeader, drawn: &mut Drawn) -> Result<()> {
        if drawn.new {
            response.insert_header("Set-Cookie", format!("{}; Path=/; HttpOnly", COOKIES[drawn.pool]))?;
        }
        Ok(())
    }
}

fn main() -> Result<(), Fault> {
    let words: Vec<String> = env::args().skip(1).collect();
    let [threads, plain, tls, certificate, key, targets @ ..] = words.as_slice() else {
        return Err("pingora THREADS PLAIN TLS CERTIFICATE KEY TARGET0 TARGET1".into());
    };
    let conf = ServerConf { threads: threads.parse()?, ..ServerConf::default() };
    let mut server = Server::new_with_opt_and_conf(None, conf);
    server.bootstrap();
    let mut pools = Vec::new();
    for target in targets {
        let mut pool = LoadBalancer::try_from_iter([target.as_str()])?;
        pool.set_health_check(TcpHealthCheck::new());
        pool.health_check_frequency = Some(Duration::from_secs(1));
        let checks = background_service("health checks", pool);
        pools.push(checks.task());
        server.add_service(checks);
    }
    let pools = pools.try_into().map_err(|_| "two targets are needed")?;
    let mut site = http_proxy_service(&server.configuration, Site(pools));
    site.add_tcp(plain);
    let mut settings = TlsSettings::intermediate(certificate, key)?;
    settings.enable_h2();
    site.add_tls_with_settings(tls, None, settings);
    server.add_service(site);
    server.run_forever()
}
