//! What is no evidence for a candidate passes no step: answers that never came, and failures of a few visitors.

use crate::harness::{Application, RawConnection, Router, SHORT, Setup, until};
use std::time::Duration;

/// One short step that a handful of good answers would pass.
const ONE_SHORT_STEP: &str = "steps = [ { weight = 50, hold = \"1s\" } ]\nmin_requests = 20\nmax_hold = \"1h\"\n";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_candidate_whose_visitors_give_up_waiting_is_not_promoted() {
    let (server0, server1) = Application::pair().await;
    server1.behave(|behaviour| behaviour.delay = Duration::from_secs(600));
    let setup = Setup::before(&server0, &server1).health("").rollout(&format!("[service.rollout]\n{ONE_SHORT_STEP}"));
    let router = Router::start(setup).await;
    router.command(&["rollout", "start", "server1"]).await.ok();
    router.phase("canary", SHORT).await;
    for _ in 0..100 {
        let mut impatient = RawConnection::open(router.address()).await;
        impatient.send("GET / HTTP/1.1\r\nhost: shop.example.com\r\n\r\n").await;
        tokio::time::sleep(Duration::from_millis(30)).await;
    }
    tokio::time::sleep(Duration::from_secs(3)).await;
    let view = router.view().await;
    assert_eq!((view["phase"].as_str(), view["live"].as_str()), (Some("canary"), Some("server0")), "{view:#}");
    assert_eq!(view["verdict"], "insufficient");
}

/// Two accounts that the split sends to the candidate, and two that it leaves with live.
async fn accounts(router: &Router) -> (Vec<u32>, Vec<u32>) {
    let (mut of_candidate, mut of_live) = (Vec::new(), Vec::new());
    for account in 0..1000 {
        if of_candidate.len() >= 2 && of_live.len() >= 2 {
            break;
        }
        let header = format!("X-Account: {account}");
        let explain = ["explain", "--host", "shop.example.com", "--path", "/", "--header", &header, "--json"];
        let explained = router.command(&explain).await.json();
        let group = if explained["pool"] == "server1" { &mut of_candidate } else { &mut of_live };
        group.push(account);
    }
    of_candidate.truncate(2);
    of_live.truncate(2);
    (of_candidate, of_live)
}

/// A rollout at 50% of visitors that are told apart by their account.
async fn canary_by_account(server0: &Application, server1: &Application) -> Router {
    let setup = Setup::before(server0, server1)
        .health("")
        .service_tables("[service.sticky]\nby = \"header:X-Account\"")
        .rollout(&format!("[service.rollout]\n{ONE_SHORT_STEP}"));
    let router = Router::start(setup).await;
    router.command(&["rollout", "start", "server1"]).await.ok();
    router.phase("canary", SHORT).await;
    router
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_candidate_that_leaves_two_visitors_waiting_is_held_and_the_evidence_says_so() {
    let (server0, server1) = Application::pair().await;
    let router = canary_by_account(&server0, &server1).await;
    let (of_candidate, of_live) = accounts(&router).await;
    server1.behave(|behaviour| behaviour.delay = Duration::from_secs(4));
    let mut waiting = Vec::new();
    for account in of_candidate.iter().chain(&of_live).cycle().take(200) {
        let mut patient = RawConnection::open(router.address()).await;
        let head = format!("GET / HTTP/1.1\r\nhost: shop.example.com\r\nx-account: {account}\r\n\r\n");
        patient.send(&head).await;
        waiting.push(patient);
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    let mut no_head = serde_json::Value::Null;
    until("the requests without an answer are seen", SHORT, async || {
        let evidence = router.evidence().await;
        no_head =
            evidence["checks"].as_array().unwrap().iter().find(|check| check["name"] == "no-head").unwrap().clone();
        no_head["detail"].as_str().unwrap().contains("got no answer within 2 s")
    })
    .await;
    tokio::time::sleep(Duration::from_secs(4)).await;
    let view = router.view().await;
    assert_eq!((view["phase"].as_str(), view["verdict"].as_str()), (Some("canary"), Some("insufficient")), "{view:#}");
    assert_eq!(no_head["verdict"], "insufficient", "{no_head}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_visitors_for_whom_everything_fails_do_not_promote_a_candidate() {
    let (server0, server1) = Application::pair().await;
    let router = canary_by_account(&server0, &server1).await;
    server1.behave(|behaviour| behaviour.fail = 1.0);
    let (of_candidate, of_live) = accounts(&router).await;
    let client = reqwest::Client::builder().no_proxy().tls_certs_only([]).build().unwrap();
    for _ in 0..100 {
        for account in of_candidate.iter().chain(&of_live) {
            let posted = client
                .post(format!("http://{}/", router.address()))
                .header("host", "shop.example.com")
                .header("x-account", account.to_string())
                .body("order")
                .send();
            posted.await.unwrap();
        }
    }
    tokio::time::sleep(Duration::from_secs(3)).await;
    let view = router.view().await;
    assert_eq!((view["phase"].as_str(), view["live"].as_str()), (Some("canary"), Some("server0")), "{view:#}");
    let reason = router.evidence().await["reason"].as_str().unwrap().to_owned();
    assert!(reason.contains("few visitors"), "{reason}");
}
