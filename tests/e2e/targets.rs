//! Targets of every kind: by TLS, on Unix sockets, by IPv6, and by names whose addresses change.

use crate::harness::{Application, LONG, Router, SHORT, Setup, eventually, free_port};
use rcgen::{CertificateParams, CertifiedIssuer, DnType, KeyPair, date_time_ymd};
use rustls::pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use tokio::io::copy_bidirectional;
use tokio::net::{TcpListener, TcpStream, UnixListener};
use tokio::task::JoinHandle;
use tokio_rustls::TlsAcceptor;

/// An authority of a test.
struct Authority(CertifiedIssuer<'static, KeyPair>);

impl Authority {
    fn new(name: &str) -> Self {
        let mut params = CertificateParams::new([]).unwrap();
        params.distinguished_name.push(DnType::CommonName, name);
        params.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
        Self(CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap())
    }

    fn write(&self, folder: &Path) -> PathBuf {
        let file = folder.join("ca.pem");
        std::fs::write(&file, self.0.pem()).unwrap();
        file
    }

    /// An application behind TLS, with a certificate for `name`.
    async fn secures(&self, application: SocketAddr, name: &str, expired: bool) -> Front {
        self.secures_with(application, name, expired, &["http/1.1"]).await
    }

    /// The same, which offers these protocols.
    async fn secures_with(&self, application: SocketAddr, name: &str, expired: bool, offers: &[&str]) -> Front {
        let key = KeyPair::generate().unwrap();
        let mut params = CertificateParams::new([name.to_owned()]).unwrap();
        if expired {
            (params.not_before, params.not_after) = (date_time_ymd(2019, 1, 1), date_time_ymd(2020, 1, 1));
        }
        let certificate = params.signed_by(&key, &self.0).unwrap();
        let key = PrivateKeyDer::from(PrivatePkcs8KeyDer::from(key.serialize_der()));
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let mut config = rustls::ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(vec![certificate.der().clone()], key)
            .unwrap();
        config.alpn_protocols = offers.iter().map(|offer| offer.as_bytes().to_vec()).collect();
        let acceptor = TlsAcceptor::from(Arc::new(config));
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let task = tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let acceptor = acceptor.clone();
                tokio::spawn(async move {
                    let Ok(mut stream) = acceptor.accept(stream).await else { return };
                    let mut inside = TcpStream::connect(application).await.unwrap();
                    let _ = copy_bidirectional(&mut stream, &mut inside).await;
                });
            }
        });
        Front { address, task }
    }
}

/// What stands before an application.
struct Front {
    address: SocketAddr,
    task: JoinHandle<()>,
}

impl Drop for Front {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// A router whose `server0` has these lines, and whose `server1` is an application.
fn prepared(server0: &str, server1: &Application) -> Router {
    let setup = Setup::with_pools(&[
        ("server0", SocketAddr::from(([127, 0, 0, 1], 9)), "r0"),
        ("server1", server1.address(), "r1"),
    ]);
    let router = Router::prepare(setup);
    router.write_config(&router.setup.text().replace("targets = [\"127.0.0.1:9\"]", server0));
    router
}

async fn fault_of_server0(router: &Router) -> String {
    let view = router
        .view_when("server0 is down", SHORT, |view| view["pools"]["server0"]["targets"][0]["healthy"] == false)
        .await;
    view["pools"]["server0"]["targets"][0]["fault"].as_str().unwrap().to_owned()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_target_with_tls_is_verified_by_its_own_authority_and_name() {
    let (server0, server1) = Application::pair().await;
    let authority = Authority::new("known");
    let folder = tempfile::tempdir().unwrap();
    let ca = authority.write(folder.path());
    let front = authority.secures(server0.address(), "shop.internal", false).await;
    let lines = |name: &str| {
        format!(
            "targets = [\"https://{}\"]\ntls = {{ ca_file = \"{}\", server_name = \"{name}\" }}",
            front.address,
            ca.display()
        )
    };
    let router = prepared(&lines("shop.internal"), &server1);
    router.start_again().await;
    let mut visitor = router.visitor();
    for _ in 0..3 {
        assert_eq!(visitor.get("/").await.by(), "server0");
    }
    let shown = &router.view().await["pools"]["server0"]["targets"][0];
    assert_eq!(shown["address"], format!("https://{}", front.address));
    // Another name than the certificate's, on a reload.
    let text = std::fs::read_to_string(router.config()).unwrap();
    router.write_config(&text.replace("shop.internal", "other.internal"));
    let fault = fault_of_server0(&router).await;
    assert!(fault.starts_with("TLS: ") && fault.contains("other.internal"), "{fault}");
    assert_eq!(visitor.get("/").await.by(), "server1", "and nothing goes there");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_target_with_tls_is_spoken_to_by_http2_and_checked_by_it_where_it_offers_that() {
    let (server0, server1) = Application::pair().await;
    let authority = Authority::new("known");
    let folder = tempfile::tempdir().unwrap();
    let ca = authority.write(folder.path());
    let lines = |front: &Front| {
        format!("targets = [\"https://{}\"]\nprotocol = \"h2\"\ntls.ca_file = \"{}\"", front.address, ca.display())
    };
    let front = authority.secures_with(server0.address(), "127.0.0.1", false, &["http/1.1", "h2"]).await;
    let router = prepared(&lines(&front), &server1);
    let text = std::fs::read_to_string(router.config()).unwrap();
    router.write_config(&text.replace("[service.health]", "[service.health]\npath = \"/up\""));
    router.start_again().await;
    let mut visitor = router.visitor();
    for _ in 0..3 {
        assert_eq!(visitor.get("/").await.by(), "server0");
        assert_eq!(visitor.post("/", "body").await.by(), "server0");
    }
    // The pseudo-header says by what it came.
    assert_eq!(server0.seen().last().unwrap().header("host"), None, "by HTTP/1.1 it would have one");
    server0.behave(|behaviour| behaviour.health = 503);
    assert_eq!(fault_of_server0(&router).await, "GET /up: 503 Service Unavailable");

    let front = authority.secures(server0.address(), "127.0.0.1", false).await;
    let router = prepared(&lines(&front), &server1);
    router.start_again().await;
    let fault = fault_of_server0(&router).await;
    assert!(fault.starts_with("TLS: "), "{fault}");
    assert_eq!(router.visitor().get("/").await.by(), "server1");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_certificate_that_is_expired_or_of_an_unknown_authority_is_a_clear_fault() {
    let (server0, server1) = Application::pair().await;
    let (known, unknown) = (Authority::new("known"), Authority::new("unknown"));
    let folder = tempfile::tempdir().unwrap();
    let ca = known.write(folder.path());
    for (front, reason) in [
        (known.secures(server0.address(), "127.0.0.1", true).await, "expired"),
        (unknown.secures(server0.address(), "127.0.0.1", false).await, "UnknownIssuer"),
    ] {
        let lines = format!("targets = [\"https://{}\"]\ntls.ca_file = \"{}\"", front.address, ca.display());
        let router = prepared(&lines, &server1);
        router.start_again().await;
        let fault = fault_of_server0(&router).await;
        assert!(fault.starts_with("TLS: ") && fault.contains(reason), "{fault}");
        assert_eq!(router.visitor().get("/").await.by(), "server1");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_broken_file_of_certificates_is_refused_by_check_start_and_reload() {
    let (server0, server1) = Application::pair().await;
    let authority = Authority::new("known");
    let folder = tempfile::tempdir().unwrap();
    let ca = authority.write(folder.path());
    let front = authority.secures(server0.address(), "127.0.0.1", false).await;
    let lines = format!("targets = [\"https://{}\"]\ntls.ca_file = \"{}\"", front.address, ca.display());
    let router = prepared(&lines, &server1);
    router.start_again().await;
    std::fs::write(&ca, "no certificate").unwrap();
    router.reload();
    eventually("the reload is refused", SHORT, async || {
        let log = router.output() + &router.log();
        (log.contains("the configuration was refused") && log.contains("has no certificate in it")).then_some(())
    })
    .await;
    assert_eq!(router.visitor().get("/").await.by(), "server0");
    let checked = router.command(&["check", "--config", router.config().to_str().unwrap()]).await;
    assert_eq!(checked.code, 2, "{checked:?}");
    assert!(checked.err.contains("pool.server0.tls.ca_file: ") && checked.err.contains("1 fault:"), "{checked:?}");
    assert!(router.terminate().await.success());
    let run = crate::harness::run_binary(&["run", "--config", router.config().to_str().unwrap()], &[], LONG).await;
    assert!(run.code == 1 && run.err.contains("has no certificate in it"), "{run:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_target_may_be_a_unix_socket_or_an_ipv6_address() {
    let (server0, server1) = Application::pair().await;
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("app.sock");
    let listener = UnixListener::bind(&path).unwrap();
    let unix = tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            let mut inside = TcpStream::connect(server0.address()).await.unwrap();
            tokio::spawn(async move { drop(copy_bidirectional(&mut stream, &mut inside).await) });
        }
    });
    let target = format!("unix:{}", path.display());
    let router = prepared(&format!("targets = [\"{target}\"]"), &server1);
    router.start_again().await;
    let mut visitor = router.visitor();
    for _ in 0..3 {
        assert_eq!(visitor.get("/").await.by(), "server0");
    }
    let health = router.metric("cutover_target_healthy").await;
    assert!(health.iter().any(|(labels, up)| labels.contains(&format!("\"{target}\"")) && *up > 0.5), "{health:?}");
    unix.abort();

    let listener = TcpListener::bind("[::1]:0").await.unwrap();
    let target = listener.local_addr().unwrap();
    let inner = server1.address();
    let six = tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            let mut inside = TcpStream::connect(inner).await.unwrap();
            tokio::spawn(async move { drop(copy_bidirectional(&mut stream, &mut inside).await) });
        }
    });
    let router = prepared(&format!("targets = [\"{target}\"]"), &server1);
    router.start_again().await;
    assert_eq!(router.visitor().get("/").await.status, 200);
    assert_eq!(router.view().await["pools"]["server0"]["targets"][0]["healthy"], true);
    six.abort();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn traffic_follows_a_name_to_its_new_address() {
    let (first, second) = Application::pair().await;
    let port = free_port();
    // Two machines of one port, as two addresses of this one.
    let mut doors = Vec::new();
    for (address, application) in [("127.0.0.2", first.address()), ("127.0.0.3", second.address())] {
        let listener = TcpListener::bind((address, port)).await.unwrap();
        doors.push(tokio::spawn(async move {
            while let Ok((mut stream, _)) = listener.accept().await {
                let mut inside = TcpStream::connect(application).await.unwrap();
                tokio::spawn(async move { drop(copy_bidirectional(&mut stream, &mut inside).await) });
            }
        }));
    }
    let folder = tempfile::tempdir().unwrap();
    let hosts = folder.path().join("hosts");
    // Written in place: the router's `/etc/hosts` is this very file.
    let says = |address: &str| std::fs::write(&hosts, format!("{address} app.cutover.test\n")).unwrap();
    says("127.0.0.2");
    let other = Application::start("other").await;
    let mut router = prepared(&format!("targets = [\"app.cutover.test:{port}\"]"), &other);
    router.write_config(
        &std::fs::read_to_string(router.config()).unwrap().replace("workers = 2", "workers = 2\ndns_refresh = \"1s\""),
    );
    router.setup.hosts = Some(hosts.clone());
    router.start_again().await;
    let mut visitor = router.visitor();
    assert_eq!(visitor.get("/").await.by(), "server0");
    says("127.0.0.3");
    eventually("traffic follows", SHORT, async || (visitor.get("/").await.by() == "server1").then_some(())).await;
    // Nobody knows the name any more: what was known last stays.
    std::fs::write(&hosts, "").unwrap();
    eventually("it is told", LONG, async || {
        let log = router.output() + &router.log();
        log.contains("the last known addresses stay").then_some(())
    })
    .await;
    assert_eq!(visitor.get("/").await.by(), "server1");
    for door in doors {
        door.abort();
    }
}
