//! Strategies, steps, gates, and who is told.

use super::{file, good, one_fault, one_warning};
use crate::config::NotifyKind;
use crate::model::{Advance, GateAsk, GatePoint, OnGateFailure, Period, Strategy};

fn rollout(text: &str) -> String {
    file("", &format!("[service.rollout]\n{text}"))
}

fn gate(text: &str) -> String {
    file("", &format!("[[service.rollout.gate]]\n{text}"))
}

fn notify(text: &str) -> String {
    file(&format!("[[notify]]\n{text}"), "")
}

#[test]
fn a_plan_means_what_it_says() {
    let text = rollout(
        "preview = '5m'\napprove = true\nadvance = 'early'\nobjective = 0.999\nsteps = [{ weight = 5, hold = '1m' }, \
         { weight = 50, hold = '1m', min_requests = 7, checks = ['latency'], approve = true }]\n\
         [[service.rollout.check]]\nkind = 'latency'\n[[service.rollout.check]]\nkind = 'error-ratio'",
    );
    let plan = good(&text).services.remove(0).rollout;
    assert_eq!((plan.strategy, plan.preview, plan.approve), (Strategy::Canary, Period::from_secs(300), true));
    assert_eq!((plan.advance, plan.objective), (Advance::Early, 0.999));
    let [first, second] = plan.steps.as_slice() else { panic!("{:?}", plan.steps) };
    assert_eq!((first.min_requests, &first.checks, first.approve), (None, &None, false));
    assert_eq!((second.min_requests, second.approve), (Some(7), true));
    assert_eq!(second.checks.as_deref(), Some(["latency".to_owned()].as_slice()));
}

#[test]
fn a_blue_green_plan_has_no_steps() {
    let plan = good(&rollout("strategy = 'blue-green'\npreview = '10m'")).services.remove(0).rollout;
    assert_eq!((plan.strategy, plan.steps.len()), (Strategy::BlueGreen, 0));
}

#[test]
fn a_plan_that_makes_no_sense_is_told() {
    let step = "service[0].rollout.steps[0]";
    for (text, path, part) in [
        ("strategy = 'rainbow'", "service[0].rollout.strategy", "write one of \"canary\", \"blue-green\""),
        ("strategy = 'blue-green'\nsteps = []", "service[0].rollout.steps", "has no steps"),
        ("approve = 'yes'", "service[0].rollout.approve", "true or false"),
        ("advance = 'late'", "service[0].rollout.advance", "none of the choices"),
        ("preview = 5", "service[0].rollout.preview", "a duration"),
        ("steps = [{ weight = 5, hold = '1m', checks = ['latency'] }]", &format!("{step}.checks[0]"), "error-ratio"),
        ("steps = [{ weight = 5, hold = '1m', checks = ['no-head'] }]", &format!("{step}.checks[0]"), "always"),
        ("steps = [{ weight = 5, hold = '1m', checks = [] }]", &format!("{step}.checks"), "no check"),
        (
            "steps = [{ weight = 5, hold = '1m', checks = ['error-ratio', 'error-ratio'] }]",
            &format!("{step}.checks[1]"),
            "twice",
        ),
        ("steps = [{ weight = 5, hold = '1m', min_requests = 0 }]", &format!("{step}.min_requests"), "out of range"),
    ] {
        one_fault(&rollout(text), path, part);
    }
}

#[test]
fn gates_keep_their_order_and_have_defaults() {
    let text = file(
        "",
        "[[service.rollout.gate]]\nname = 'ask'\nat = ['before-rollout', 'on-rollback']\nurl = 'https://h/x?y=1'\n\
         [[service.rollout.gate]]\nname = 'run'\nat = ['before-step']\ncommand = ['./run', '-q']\n\
         env = { A = '1' }\ntimeout = '5m'\nretries = 0\non_failure = 'rollback'",
    );
    let gates = good(&text).services.remove(0).rollout.gates;
    let [ask, run] = gates.as_slice() else { panic!("{gates:?}") };
    assert_eq!(ask.at, [GatePoint::BeforeRollout, GatePoint::OnRollback]);
    assert_eq!((ask.timeout, ask.retries, ask.on_failure), (Period::from_secs(30), 3, OnGateFailure::Hold));
    assert_eq!(ask.ask, GateAsk::Webhook { url: "https://h/x?y=1".to_owned(), secret_file: None });
    assert_eq!((run.timeout, run.retries, run.on_failure), (Period::from_secs(300), 0, OnGateFailure::Rollback));
    let GateAsk::Command { command, env } = &run.ask else { panic!("{run:?}") };
    assert_eq!(command, &["/etc/cutover/./run", "-q"]);
    assert_eq!(env.get("A").map(String::as_str), Some("1"));
}

#[test]
fn a_gate_that_makes_no_sense_is_told() {
    let at = "name = 'g'\nat = ['before-step']\n";
    let key = |key: &str| format!("service[0].rollout.gate[0].{key}");
    for (text, path, part) in [
        ("name = 'g'\nurl = 'http://h'".to_owned(), key("at"), "is missing"),
        ("at = ['before-step']\nurl = 'http://h'".to_owned(), key("name"), "is missing"),
        ("name = 'gates'\nat = ['before-step']\nurl = 'http://h'".to_owned(), key("name"), "choose another"),
        ("name = 'g'\nat = ['before-lunch']\nurl = 'http://h'".to_owned(), key("at[0]"), "none of the choices"),
        ("name = 'g'\nat = []\nurl = 'http://h'".to_owned(), key("at"), "never be asked"),
        (format!("{at}url = 'ftp://h'"), key("url"), "not a web address"),
        (format!("{at}url = 'http://h'\ncommand = ['x']"), key("command"), "one of the two"),
        (at.to_owned(), "service[0].rollout.gate[0]".to_owned(), "nobody is asked"),
        (format!("{at}command = []"), key("command"), "no program"),
        (format!("{at}command = ['x']\nsecret_file = 's'"), key("secret_file"), "signed"),
        (format!("{at}url = 'http://h'\nenv = {{}}"), key("env"), "environment"),
        (format!("{at}command = ['x']\nenv = {{ CUTOVER_X = '1' }}"), key("env.CUTOVER_X"), "router's own"),
        (format!("{at}command = ['x', \"a\\u0000\"]"), key("command[1]"), "U+0000"),
        (format!("{at}url = 'http://h'\ntimeout = '25h'"), key("timeout"), "too long"),
        (format!("{at}url = 'http://h'\nretries = 1000"), key("retries"), "out of range"),
        (format!("{at}url = 'http://h'\non_failure = 'panic'"), key("on_failure"), "none of the choices"),
        (format!("{at}url = 'http://h'\nretires = 1"), key("retires"), "did you mean `retries`?"),
    ] {
        one_fault(&gate(&text), &path, part);
    }
    let twice = format!("{at}url = 'http://h'\n[[service.rollout.gate]]\n{at}url = 'http://i'");
    one_fault(&gate(&twice), "service[0].rollout.gate[1].name", "has this name too");
    let steps = format!("strategy = 'blue-green'\n[[service.rollout.gate]]\n{at}url = 'http://h'");
    one_fault(&rollout(&steps), "service[0].rollout.gate[0].at[0]", "no steps");
    one_warning(&gate(&format!("{at}url = 'http://h'\nsecret_file = 's'")), &key("secret_file"), "is not there");
}

#[test]
fn those_who_are_told_have_defaults() {
    let told = good(&notify("url = 'https://h/x'")).notify.remove(0);
    assert_eq!((told.kind, told.services), (NotifyKind::Webhook, None));
    assert_eq!(told.events, ["start", "hold", "promote", "rollback", "gate-failure"]);
    let text =
        "url = 'http://h'\nkind = 'slack'\nevents = ['rollback']\nservices = ['s']\nlink = 'https://x/{{service}}'";
    let told = good(&notify(text)).notify.remove(0);
    assert_eq!((told.kind, told.events), (NotifyKind::Slack, vec!["rollback".to_owned()]));
    assert_eq!(told.services, Some(vec!["s".parse().unwrap()]));
}

#[test]
fn a_notice_that_makes_no_sense_is_told() {
    for (text, key, part) in [
        ("", "url", "is missing"),
        ("url = 'h'", "url", "not a web address"),
        ("url = 'http://h'\nkind = 'pigeon'", "kind", "none of the choices"),
        ("url = 'http://h'\nevents = ['lunch']", "events[0]", "none of the choices"),
        ("url = 'http://h'\nevents = []", "events", "nothing would be told"),
        ("url = 'http://h'\nservices = ['other']", "services[0]", "none of the choices"),
        ("url = 'http://h'\nservices = []", "services", "nothing would be told"),
        ("url = 'http://h'\nlink = 'x'", "link", "not a link"),
        ("url = 'http://h'\nkind = 'slack'\nsecret_file = 's'", "secret_file", "take it out"),
    ] {
        one_fault(&notify(text), &format!("notify[0].{key}"), part);
    }
}
