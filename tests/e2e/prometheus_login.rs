//! A Prometheus that does not answer everyone: TLS, passwords and tokens.

use crate::harness::{Application, Between, LONG, Manner, Prometheus, Router, Setup, until};
use std::path::Path;

/// A rollout whose only question is whether Prometheus answers.
const ROLLOUT: &str = r#"
[service.rollout]
steps = [ { weight = 50, hold = "10m" } ]
[[service.rollout.check]]
kind = "promql"
name = "answers"
query = "vector(7)"
max = 10
every = "1s"
"#;

/// A router with a rollout under way, and the two applications behind it.
async fn router(prometheus: &str) -> (Router, [Application; 2]) {
    let (server0, server1) = Application::pair().await;
    let setup = Setup::before(&server0, &server1).tables(&format!("[prometheus]\n{prometheus}")).rollout(ROLLOUT);
    let router = Router::start(setup).await;
    router.command(&["rollout", "start", "server1"]).await.ok();
    (router, [server0, server1])
}

async fn says(router: &Router, verdict: &str, part: &str) {
    until(&format!("{verdict}: {part}"), LONG, async || {
        let evidence = router.evidence().await;
        let check = evidence["checks"].as_array().unwrap().iter().find(|check| check["name"] == "answers").cloned();
        check.is_some_and(|check| check["verdict"] == verdict && check["detail"].as_str().unwrap().contains(part))
    })
    .await;
}

async fn keeps_its_secret(router: &Router, secret: &str) {
    let shown = [router.log(), router.output(), router.evidence().await.to_string(), router.view().await.to_string()];
    assert!(shown.iter().all(|text| !text.contains(secret)), "{shown:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_guarded_prometheus_is_asked_over_tls_with_a_password_that_may_change() {
    let folder = tempfile::tempdir().unwrap();
    let file = |name: &str| folder.path().join(name);
    let write = |path: &Path, text: &str| std::fs::write(path, text).unwrap();
    let (certificate, key, other, password) =
        (file("server.pem"), file("server.key"), file("other.pem"), file("password"));
    let made = rcgen::generate_simple_self_signed(["127.0.0.1".to_owned()]).unwrap();
    write(&certificate, &made.cert.pem());
    write(&key, &made.signing_key.serialize_pem());
    write(&other, &rcgen::generate_simple_self_signed(["127.0.0.1".to_owned()]).unwrap().cert.pem());
    write(&password, &format!("{}\n", Prometheus::PASSWORD));
    let prometheus = Prometheus::start_guarded(&[], &certificate, &key).await;
    let ca = file("ca.pem");
    write(&ca, &std::fs::read_to_string(&certificate).unwrap());
    let (router, _applications) = router(&format!(
        "url = \"{}\"\nca_file = \"{}\"\nusername = \"{}\"\npassword_file = \"{}\"",
        prometheus.url(),
        ca.display(),
        Prometheus::USER,
        password.display(),
    ))
    .await;
    says(&router, "healthy", "7 is within its bounds").await;
    write(&password, "wrong-s3cret");
    says(&router, "source-down", "HTTP 401").await;
    write(&password, Prometheus::PASSWORD);
    says(&router, "healthy", "7 is within its bounds").await;
    write(&ca, &std::fs::read_to_string(&other).unwrap());
    says(&router, "source-down", "can't be reached: invalid peer certificate").await;
    write(&ca, &std::fs::read_to_string(&certificate).unwrap());
    says(&router, "healthy", "7 is within its bounds").await;
    keeps_its_secret(&router, "s3cret").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_token_is_read_for_each_query() {
    let prometheus = Prometheus::start(&[], None).await;
    let between = Between::start(prometheus.url()).await;
    between.behave(Manner::Token("s3cret-1".to_owned()));
    let folder = tempfile::tempdir().unwrap();
    let token = folder.path().join("token");
    std::fs::write(&token, "s3cret-1\n").unwrap();
    let (router, _applications) =
        router(&format!("url = \"{}\"\nbearer_token_file = \"{}\"", between.url(), token.display())).await;
    says(&router, "healthy", "7 is within its bounds").await;
    between.behave(Manner::Token("s3cret-2".to_owned()));
    says(&router, "source-down", "`bearer_token_file`").await;
    std::fs::write(&token, "s3cret-2\n").unwrap();
    says(&router, "healthy", "7 is within its bounds").await;
    keeps_its_secret(&router, "s3cret").await;
}
