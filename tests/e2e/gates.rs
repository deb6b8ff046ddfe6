//! Gates, approvals, early steps, blue-green and notices, from outside.

use crate::harness::{Application, LONG, Load, Receiver, Reply, Router, SHORT, Setup, until};
use serde_json::{Value, json};
use std::fmt::Write;
use std::net::IpAddr;
use std::time::{Duration, Instant};

/// A step that no command hurries, left as soon as twenty requests have come.
const ONE_STEP: &str = "[service.rollout]\nsteps = [ { weight = 50, hold = \"1s\" } ]\nmin_requests = 20\n";

fn webhook(receiver: &Receiver, name: &str, at: &str, more: &str) -> String {
    format!("\n[[service.rollout.gate]]\nname = \"{name}\"\nat = {at}\nurl = \"{}\"\n{more}\n", receiver.url())
}

fn refusal() -> Reply {
    Reply::Answer(200, r#"{"allow": false, "reason": "it is Friday"}"#.to_owned())
}

async fn router(rollout: &str) -> (Application, Application, Router) {
    let (server0, server1) = Application::pair().await;
    let router = Router::prepare(Setup::before(&server0, &server1).rollout(rollout));
    std::fs::write(router.folder().join("key"), "of the test\n").unwrap();
    router.start_again().await;
    (server0, server1, router)
}

async fn held_by(router: &Router, by: &str) -> Value {
    router.view_when(&format!("held by {by}"), LONG, |view| view["held"]["by"] == by).await
}

fn gate_state(view: &Value) -> (&str, &str) {
    let gate = &view["rollout"]["gates"][0];
    (gate["at"].as_str().unwrap_or_default(), gate["state"].as_str().unwrap_or_default())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_signed_webhook_is_asked_at_every_moment_and_tried_again_until_it_answers() {
    let receiver = Receiver::start().await;
    let busy = Reply::Answer(503, "busy".to_owned());
    receiver.next(&[busy.clone(), busy]);
    let all = r#"["before-rollout", "before-step", "before-promotion", "after-promotion", "on-rollback"]"#;
    let gate = webhook(&receiver, "calendar", all, "secret_file = \"key\"\nretries = 5");
    let (_server0, _server1, router) = router(&format!("{ONE_STEP}{gate}")).await;
    let load = Load::on(router.address()).rate(100.0).start();
    let walk = router.command(&["rollout", "start", "server1", "--release", "v7", "--wait"]).await;
    assert_eq!(walk.code, 0, "gates that are asked are no end of the rollout: {walk:?}");
    drop(load);
    receiver.letter("after-promotion").await;
    router.command(&["rollout", "rollback"]).await.ok();
    receiver.letter("on-rollback").await;

    let letters = receiver.letters();
    let events: Vec<&str> = letters.iter().map(|letter| letter.header("x-cutover-event")).collect();
    let expected =
        ["before-rollout"; 3].into_iter().chain(["before-step", "before-promotion", "after-promotion", "on-rollback"]);
    assert_eq!(events, expected.collect::<Vec<_>>());
    assert!(letters.iter().all(|letter| letter.is_signed_with("of the test")), "{letters:#?}");
    assert!(!letters[0].is_signed_with("another key"));
    let ids: Vec<&str> = letters.iter().map(|letter| letter.header("x-cutover-delivery")).collect();
    assert!(ids[0] == ids[1] && ids[1] == ids[2], "a try has the id of the question: {ids:?}");
    assert!(ids[2..].windows(2).all(|pair| pair[0] != pair[1]), "another question has another id: {ids:?}");
    let step = letters[3].json();
    assert_eq!(
        json!([step["gate"], step["service"], step["pool"], step["release"], step["live"], step["weight"]]),
        json!(["calendar", "shop", "server1", "v7", "server0", 50.0])
    );
    assert_eq!(json!([step["step"], step["steps"], step["id"]]), json!([1, 1, ids[3]]));
    let view = router.view_when("the answer is shown", SHORT, |view| gate_state(view).1 == "passed").await;
    assert_eq!(gate_state(&view).0, "on-rollback");
    let history = router.history().await;
    let passed = history
        .iter()
        .find(|entry| entry["decision"] == "gate" && entry["reason"].as_str().unwrap().contains("passed"));
    assert_eq!(passed.unwrap()["by"], "gates", "{history:#?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_gate_that_says_no_holds_and_is_asked_again_by_resume() {
    let receiver = Receiver::start().await;
    receiver.next(&[refusal()]);
    let gate = webhook(&receiver, "calendar", "[\"before-rollout\"]", "");
    let (_server0, _server1, router) = router(&format!("{ONE_STEP}{gate}")).await;
    router.command(&["rollout", "start", "server1"]).await.ok();
    let view = router.view_when("the gate has failed", SHORT, |view| gate_state(view).1 == "failed").await;
    let view = if view["held"].is_null() { held_by(&router, "gate").await } else { view };
    assert_eq!(json!([view["phase"], view["weight"]]), json!(["preview", 0.0]));
    let view = router.view_when("the hold says why", SHORT, |view| {
        view["held"]["reason"].as_str().is_some_and(|reason| reason.contains("it is Friday"))
    });
    assert!(view.await["held"]["reason"].as_str().unwrap().contains("resume"));
    assert_eq!(receiver.letters().len(), 1, "a clear no is not asked again");
    router.command(&["rollout", "resume"]).await.ok();
    router.phase("canary", SHORT).await;
    assert_eq!(receiver.letters().len(), 2);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_a_failing_gate_does_is_as_the_file_says() {
    let receiver = Receiver::start().await;
    receiver.usual(refusal());
    for (at, on_failure, phase) in [
        ("before-step", "rollback", "rolled_back"),
        ("before-step", "ignore", "canary"),
        ("after-promotion", "rollback", "rolled_back"),
    ] {
        let gate = webhook(&receiver, "calendar", &format!("[\"{at}\"]"), &format!("on_failure = \"{on_failure}\""));
        let (_server0, _server1, router) = router(&format!("{ONE_STEP}{gate}")).await;
        router.command(&["rollout", "start", "server1"]).await.ok();
        if at == "after-promotion" {
            router.command(&["rollout", "promote"]).await.ok();
        }
        let view = router.phase(phase, SHORT).await;
        assert_eq!(view["live"], "server0", "{at} {on_failure}");
        let history = router.history().await;
        let told = history.iter().any(|entry| entry["reason"].as_str().unwrap().contains("it is Friday"));
        assert!(told, "{history:#?}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_program_that_hangs_holds_up_neither_requests_nor_commands_and_ends_with_its_question() {
    let gate = "\n[[service.rollout.gate]]\nname = \"migrate\"\nat = [\"before-rollout\"]\ntimeout = \"1h\"\n\
                command = [\"sh\", \"-c\", \"sleep 3600 & echo $! > child; wait\"]\n";
    let (_server0, _server1, router) = router(&format!("{ONE_STEP}{gate}")).await;
    let child = router.folder().join("child");
    let load = Load::on(router.address()).rate(100.0).start();
    for command in [vec!["rollout", "rollback"], vec!["rollout", "promote"], vec!["switch", "server0"]] {
        let _ = std::fs::remove_file(&child);
        router.command(&["rollout", "start", "server1", "--force"]).await.ok();
        held_by(&router, "gate").await;
        until("the program runs", SHORT, async || std::fs::read_to_string(&child).is_ok_and(|id| id.ends_with('\n')))
            .await;
        let before = router.view().await["live"].clone();
        let since = Instant::now();
        router.command(&command).await.ok();
        println!("{command:?} took {:?}", since.elapsed());
        assert!(since.elapsed() < SHORT);
        let view = router.view().await;
        assert_eq!(view["held"], Value::Null, "{command:?}");
        assert_eq!(view["live"] == before, command[1] != "promote", "{command:?}");
        let id = std::fs::read_to_string(&child).unwrap();
        until("the program is killed with its children", SHORT, async || !is_running(id.trim())).await;
        if command[1] == "promote" {
            let reason = router.decided("promote").await["reason"].clone();
            assert!(reason.as_str().unwrap().contains("before-rollout were being asked"), "{reason}");
            router.command(&["rollout", "rollback"]).await.ok();
        }
    }
    let tally = load.stop().await;
    assert!(tally.all() > 0 && tally.failed_gets.is_empty() && tally.failed_posts.is_empty(), "{tally:?}");
}

fn is_running(id: &str) -> bool {
    std::fs::read_to_string(format!("/proc/{id}/stat")).is_ok_and(|stat| !stat.contains(") Z "))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_program_knows_the_rollout_and_a_silent_gate_is_given_up() {
    let gates = "\n[[service.rollout.gate]]\nname = \"note\"\nat = [\"before-step\"]\nenv = { STAGE = \"test\" }\n\
                 command = [\"sh\", \"-c\", \"echo $CUTOVER_SERVICE $CUTOVER_RELEASE $CUTOVER_AT $CUTOVER_STEP $CUTOVER_WEIGHT $STAGE > noted\"]\n\
                 [[service.rollout.gate]]\nname = \"silent\"\nat = [\"before-step\"]\ncommand = [\"sleep\", \"600\"]\ntimeout = \"300ms\"\nretries = 1\n";
    let (_server0, _server1, router) = router(&format!("{ONE_STEP}{gates}")).await;
    router.command(&["rollout", "start", "server1", "--release", "v7"]).await.ok();
    let view = router.view_when("the silent gate is given up", LONG, |view| {
        view["held"]["reason"].as_str().is_some_and(|reason| reason.contains("2 tries"))
    });
    let view = view.await;
    assert_eq!(view["held"]["by"], "gate");
    let states: Vec<_> =
        view["rollout"]["gates"].as_array().unwrap().iter().map(|gate| gate["state"].clone()).collect();
    assert_eq!(states, ["passed", "failed"]);
    let noted = std::fs::read_to_string(router.folder().join("noted")).unwrap();
    assert_eq!(noted, "shop v7 before-step 1 50 test\n");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn after_a_death_the_gate_is_asked_again_with_the_same_id() {
    let receiver = Receiver::start().await;
    receiver.next(&[Reply::Hang]);
    let gate = webhook(&receiver, "calendar", "[\"before-rollout\"]", "timeout = \"1h\"");
    let (_server0, _server1, router) = router(&format!("{ONE_STEP}{gate}")).await;
    router.command(&["rollout", "start", "server1"]).await.ok();
    receiver.letter("before-rollout").await;
    router.kill();
    router.start_again().await;
    router.phase("canary", SHORT).await;
    let letters = receiver.letters();
    assert_eq!(letters.len(), 2);
    assert_eq!(letters[0].header("x-cutover-delivery"), letters[1].header("x-cutover-delivery"));
    assert!(letters[1].json()["reason"].as_str().unwrap().contains("restart"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_rollout_waits_for_its_approval() {
    let rollout = "[service.rollout]\nsteps = [ { weight = 50, hold = \"1s\", min_requests = 20 } ]\napprove = true\n";
    let (_server0, _server1, router) = router(rollout).await;
    let load = Load::on(router.address()).rate(100.0).start();
    router.command(&["rollout", "start", "server1"]).await.ok();
    router.phase("canary", SHORT).await;
    let early = router.command(&["rollout", "approve"]).await;
    assert!(early.code == 1 && early.err.contains("nothing waits for an approval"), "{early:?}");
    held_by(&router, "approval").await;
    let resumed = router.command(&["rollout", "resume"]).await;
    assert!(resumed.code == 1 && resumed.err.contains("cutover rollout approve"), "{resumed:?}");
    router.command(&["rollout", "approve"]).await.ok();
    router.phase("promoted", LONG).await;
    drop(load);
    assert_eq!(router.decided("approve").await["by"], "operator");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn with_enough_evidence_a_step_is_left_early() {
    // A hold that the test does not outlast; a tolerance that a few hundred requests prove.
    let rollout = "[service.rollout]\nsteps = [ { weight = 50, hold = \"1h\" } ]\nadvance = \"early\"\n\
                   [[service.rollout.check]]\nkind = \"error-ratio\"\ntolerate = 0.2\n";
    let (_server0, _server1, router) = router(rollout).await;
    let load = Load::on(router.address()).rate(300.0).visitors(4000).start();
    router.command(&["rollout", "start", "server1"]).await.ok();
    let early = tokio::time::timeout(LONG, router.phase("promoted", 2 * LONG)).await;
    drop(load);
    assert!(early.is_ok(), "{:#}", router.evidence().await);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn blue_green_shows_the_candidate_to_those_who_may_bypass_then_switches_and_returns_at_once() {
    let (server0, server1) = Application::pair().await;
    let setup = Setup::before(&server0, &server1)
        .rollout("[service.rollout]\nstrategy = \"blue-green\"\napprove = true\n")
        .service_tables("[service.maintenance]\nbypass = [\"127.0.0.2/32\"]\n");
    let router = Router::start(setup).await;
    let tester = "127.0.0.2".parse::<IpAddr>().unwrap();
    assert_eq!(router.visitor().from(tester).get("/").await.by(), "server0");
    router.command(&["rollout", "start", "server1"]).await.ok();
    let view = held_by(&router, "approval").await;
    assert_eq!(json!([view["phase"], view["live"], view["weight"]]), json!(["preview", "server0", 0.0]));
    assert_eq!(view["rollout"]["strategy"], "blue-green");
    assert_eq!(router.visitor().from(tester).get("/").await.by(), "server1");
    for _ in 0..20 {
        assert_eq!(router.visitor().get("/").await.by(), "server0");
    }
    router.command(&["rollout", "approve"]).await.ok();
    router.phase("promoted", SHORT).await;
    assert_eq!(router.visitor().get("/").await.by(), "server1");
    router.command(&["rollout", "rollback"]).await.ok();
    assert_eq!(router.visitor().get("/").await.by(), "server0");
    assert_eq!(router.visitor().from(tester).get("/").await.by(), "server0");

    let steps =
        router.command(&["rollout", "start", "server1", "--force", "--strategy", "blue-green", "--steps", "5"]).await;
    assert!(steps.code == 1 && steps.err.contains("no steps"), "{steps:?}");
    router.command(&["rollout", "start", "server1", "--force", "--steps", "5"]).await.ok();
    router.phase("canary", SHORT).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn people_are_told_in_the_form_that_they_want() {
    let (slack, generic) = (Receiver::start().await, Receiver::start().await);
    // A notice that can't be delivered now is tried again, and holds nothing up.
    generic.next(&[Reply::Answer(500, String::new())]);
    let (server0, server1) = Application::pair().await;
    let mut notify = format!(
        "[[notify]]\nurl = \"{}\"\nkind = \"slack\"\nlink = \"https://status.example.com/{{{{service}}}}\"\n",
        slack.url()
    );
    write!(notify, "[[notify]]\nurl = \"{}\"\nevents = [\"rollback\"]\nsecret_file = \"key\"\n", generic.url())
        .unwrap();
    notify += "[[notify]]\nurl = \"http://127.0.0.1:1/nobody\"\n";
    let setup = Setup::before(&server0, &server1).tables(&notify);
    let router = Router::prepare(setup);
    std::fs::write(router.folder().join("key"), "of the test").unwrap();
    router.start_again().await;
    server1.behave(|behaviour| behaviour.fail = 1.0);
    let load = Load::on(router.address()).rate(200.0).visitors(4000).start();
    router.command(&["rollout", "start", "server1", "--release", "v7"]).await;
    router.phase("rolled_back", LONG).await;
    drop(load);
    let text = slack.letter("rollback").await.json()["text"].as_str().unwrap().to_owned();
    println!("{text}");
    let reason = router.decided("rollback").await["reason"].as_str().unwrap().to_owned();
    let escaped = reason.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;");
    assert!(text.contains("*shop*: *rollback*") && text.contains(&escaped), "{text}\n{reason}");
    assert!(text.contains("<https://status.example.com/shop|Details>"), "{text}");
    assert!(slack.letter("start").await.json()["text"].as_str().unwrap().contains("v7"));

    until("the generic one was tried twice", SHORT, async || generic.letters().len() == 2).await;
    let letters = generic.letters();
    assert!(letters.iter().all(|letter| letter.is_signed_with("of the test")));
    assert_eq!(letters[0].header("x-cutover-delivery"), letters[1].header("x-cutover-delivery"));
    let told = letters[1].json();
    assert_eq!(json!([told["decision"]["decision"], told["service"]["live"]]), json!(["rollback", "server0"]));
    assert_eq!(told["decision"]["reason"], reason);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_services_roll_out_at_once_each_by_its_own_evidence() {
    let (server0, server1) = Application::pair().await;
    let (blog0, blog1) = (Application::start("blog0").await, Application::start("blog1").await);
    let mut blog = String::from("\n[[service]]\nname = \"blog\"\nhosts = [\"blog.example.com\"]\n");
    for (pool, application) in [("server0", &blog0), ("server1", &blog1)] {
        writeln!(blog, "[service.pool.{pool}]\ntargets = [\"{}\"]\nrelease = \"{pool}\"", application.address())
            .unwrap();
    }
    blog += ONE_STEP;
    let setup = Setup::before(&server0, &server1).service("hosts = [\"shop.example.com\"]").rollout(ONE_STEP);
    let router = Router::start(setup.service_tables(&blog)).await;
    blog1.behave(|behaviour| behaviour.fail = 1.0);
    for service in ["shop", "blog"] {
        router.command(&["--service", service, "rollout", "start", "server1"]).await.ok();
    }
    let deadline = Instant::now() + LONG;
    let (mut shopper, mut reader) = (router.visitor(), router.visitor().of_host("blog.example.com"));
    let phases = loop {
        for _ in 0..10 {
            shopper.forget();
            reader.forget();
            shopper.get("/").await;
            reader.get("/").await;
        }
        let services = router.request("GET", "/api/v1/services").send().await.unwrap().json::<Value>().await.unwrap();
        let phases: Vec<Value> =
            services["services"].as_array().unwrap().iter().map(|one| one["phase"].clone()).collect();
        if phases == ["promoted", "rolled_back"] {
            break phases;
        }
        assert!(Instant::now() < deadline, "{phases:?}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    };
    assert_eq!(phases.len(), 2);
    assert_eq!(router.visitor().get("/").await.by(), "server1");
    assert_eq!(router.visitor().of_host("blog.example.com").get("/").await.by(), "blog0");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_machine_without_authorities_routes_and_asks_all_that_need_none() {
    let receiver = Receiver::start().await;
    let plain = webhook(&receiver, "plain", "[\"before-rollout\"]", "");
    let secure = "\n[[service.rollout.gate]]\nname = \"secure\"\nat = [\"before-rollout\"]\nretries = 0\n\
                  on_failure = \"ignore\"\nurl = \"https://127.0.0.1:1/hook\"\n";
    let (server0, server1) = Application::pair().await;
    let mut setup = Setup::before(&server0, &server1)
        .rollout(&format!("{ONE_STEP}{plain}{secure}"))
        .tables("[[notify]]\nurl = \"https://127.0.0.1:1/nobody\"\n");
    setup.environment = vec![("SSL_CERT_FILE", "/nowhere"), ("SSL_CERT_DIR", "/nowhere")];
    let router = Router::start(setup).await;
    router.command(&["rollout", "start", "server1"]).await.ok();
    receiver.letter("before-rollout").await;
    let view = router.phase("canary", SHORT).await;
    let history = router.history().await;
    let told = history.iter().any(|entry| entry["reason"].as_str().unwrap().contains("No CA certificates"));
    assert!(told, "{view:#}\n{history:#?}");
}
