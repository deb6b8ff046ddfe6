//! Asks gates: webhooks and programs.

use super::program;
use super::webhook::{Address, Letter, NoClient, Webhooks, on_one_line};
use crate::control::ports::{GateFault, GateKeeper, GateQuestion};
use crate::model::{Gate, GateAsk};
use reqwest::StatusCode;
use serde_json::{Map, Value};
use std::future::Future;
use std::path::Path;
use std::pin::Pin;

/// Asks webhooks and programs.
#[derive(Debug)]
pub struct Gates {
    webhooks: Webhooks,
}

impl Gates {
    /// Nobody is asked yet.
    ///
    /// # Errors
    /// When no HTTP client can be made.
    pub fn new() -> Result<Self, NoClient> {
        Ok(Self { webhooks: Webhooks::new()? })
    }

    async fn ask_once(&self, gate: &Gate, question: &GateQuestion) -> Result<String, GateFault> {
        match &gate.ask {
            GateAsk::Webhook { url, secret_file } => self.webhook(gate, url, secret_file.as_deref(), question).await,
            GateAsk::Command { command, env } => program::run(command, env, question, gate.timeout).await,
        }
    }

    async fn webhook(
        &self,
        gate: &Gate,
        url: &str,
        secret_file: Option<&Path>,
        question: &GateQuestion,
    ) -> Result<String, GateFault> {
        let body = serde_json::to_string(question)
            .map_err(|error| GateFault::No(format!("the question can't be written as JSON: {error}")))?;
        let letter = Letter { event: question.at.as_str(), delivery: &question.id, body: &body };
        let answered = self.webhooks.post(Address { url, secret_file }, letter, gate.timeout.get()).await;
        let (status, body) = answered.map_err(GateFault::Unanswered)?;
        judge(status, &body)
    }
}

impl GateKeeper for Gates {
    fn ask<'g>(
        &'g self,
        gate: &'g Gate,
        question: &'g GateQuestion,
    ) -> Pin<Box<dyn Future<Output = Result<String, GateFault>> + Send + 'g>> {
        Box::pin(self.ask_once(gate, question))
    }
}

/// Whether the body of an answer says no, and why. Whatever `allow` is but true, it is not taken for a yes.
fn said(body: &[u8]) -> (bool, String) {
    let Ok(said) = serde_json::from_slice::<Map<String, Value>>(body) else {
        return (false, String::from_utf8_lossy(body).into_owned());
    };
    let says_no = said.get("allow").is_some_and(|allow| !matches!(allow, Value::Null | Value::Bool(true)));
    let reason = match said.get("reason") {
        Some(Value::String(reason)) => reason.clone(),
        Some(Value::Null) | None => String::new(),
        Some(other) => other.to_string(),
    };
    (says_no, reason)
}

/// 2xx passes, unless the body says `"allow": false`; a status that says "not now" is worth another try; any other is a
/// clear no.
fn judge(status: StatusCode, body: &[u8]) -> Result<String, GateFault> {
    let (says_no, reason) = said(body);
    let reason = on_one_line(&reason);
    let told = if reason.is_empty() {
        format!("HTTP {}", status.as_u16())
    } else {
        format!("HTTP {}: {reason}", status.as_u16())
    };
    let not_now = matches!(status, StatusCode::REQUEST_TIMEOUT | StatusCode::TOO_EARLY | StatusCode::TOO_MANY_REQUESTS);
    if status.is_success() {
        if says_no { Err(GateFault::No(told)) } else { Ok(told) }
    } else if status.is_server_error() || not_now {
        Err(GateFault::Unanswered(told))
    } else {
        Err(GateFault::No(told))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{GatePoint, OnGateFailure, Period, Timestamp};
    use proptest::prelude::*;
    use std::collections::BTreeMap;
    use std::time::{Duration, Instant};

    fn judged(status: u16, body: &str) -> Result<String, GateFault> {
        judge(StatusCode::from_u16(status).unwrap(), body.as_bytes())
    }

    #[test]
    fn a_status_and_a_body_make_an_answer() {
        let no = |text: &str| Err(GateFault::No(text.to_owned()));
        let unanswered = |text: &str| Err(GateFault::Unanswered(text.to_owned()));
        for (status, body, answer) in [
            (200, "", Ok("HTTP 200".to_owned())),
            (204, "", Ok("HTTP 204".to_owned())),
            (200, "fine\nby me", Ok("HTTP 200: fine by me".to_owned())),
            (200, r#"{"allow": true, "reason": "Tuesday"}"#, Ok("HTTP 200: Tuesday".to_owned())),
            (200, r#"{"allow": false, "reason": "Friday"}"#, no("HTTP 200: Friday")),
            (200, r#"{"allow": false, "reason": {"code": 7}}"#, no(r#"HTTP 200: {"code":7}"#)),
            (200, r#"{"allow": "false"}"#, no("HTTP 200")),
            (200, r#"{"allow": 0, "reason": null}"#, no("HTTP 200")),
            (200, r#"{"other": 1}"#, Ok("HTTP 200".to_owned())),
            (302, "", no("HTTP 302")),
            (403, "frozen", no("HTTP 403: frozen")),
            (408, "", unanswered("HTTP 408")),
            (425, "", unanswered("HTTP 425")),
            (429, "", unanswered("HTTP 429")),
            (500, "", unanswered("HTTP 500")),
            (503, "busy", unanswered("HTTP 503: busy")),
        ] {
            assert_eq!(judged(status, body), answer, "{status} {body}");
        }
    }

    fn question() -> GateQuestion {
        GateQuestion {
            gate: "smoke test".to_owned(),
            at: GatePoint::BeforeStep,
            service: "shop".parse().unwrap(),
            pool: "server1".parse().unwrap(),
            release: "v2".parse().unwrap(),
            live: "server0".parse().unwrap(),
            weight: 12.5,
            step: Some(2),
            steps: 3,
            reason: "it is\0healthy".to_owned(),
            id: "shop-1-2-0".to_owned(),
            asked_at: Timestamp::UNIX_EPOCH,
        }
    }

    fn gate(ask: GateAsk, timeout: Period) -> Gate {
        Gate {
            name: "smoke test".to_owned(),
            at: vec![GatePoint::BeforeStep],
            ask,
            timeout,
            retries: 0,
            on_failure: OnGateFailure::Hold,
        }
    }

    async fn ran(script: &str, timeout: Period) -> Result<String, GateFault> {
        let command = ["sh", "-c", script].map(str::to_owned).to_vec();
        let env = BTreeMap::from([("STAGE".to_owned(), "a b".to_owned())]);
        Gates::new().unwrap().ask(&gate(GateAsk::Command { command, env }, timeout), &question()).await
    }

    const LONG: Period = Period::from_secs(60);

    #[tokio::test]
    async fn the_exit_code_of_a_program_is_its_answer() {
        assert_eq!(ran("exit 0", LONG).await, Ok("exit code 0".to_owned()));
        assert_eq!(
            ran("echo one; echo two >&2; exit 3", LONG).await.unwrap_err().to_string().split(':').next(),
            Some("exit code 3")
        );
        assert_eq!(ran("exit 75", LONG).await, Err(GateFault::Unanswered("exit code 75".to_owned())));
        assert!(matches!(ran("kill -9 $$", LONG).await, Err(GateFault::No(_))));
    }

    #[tokio::test]
    async fn a_program_knows_of_the_rollout_and_of_nothing_else() {
        let told = ran(
            "echo $CUTOVER_SERVICE $CUTOVER_POOL $CUTOVER_RELEASE $CUTOVER_LIVE $CUTOVER_WEIGHT $CUTOVER_STEP; echo $CUTOVER_GATE, $CUTOVER_AT, $CUTOVER_REASON, $STAGE; env | grep -c CARGO",
            LONG,
        );
        let told = told.await.unwrap_err().to_string();
        assert!(
            told.contains("shop server1 v2 server0 12.5 2 | smoke test, before-step, it is healthy, a b | 0"),
            "{told}"
        );
    }

    #[tokio::test]
    async fn of_much_output_the_last_lines_are_told() {
        let told = ran("i=0; while [ $i -lt 20000 ]; do echo line $i; i=$((i+1)); done", LONG).await.unwrap();
        assert_eq!(told, "exit code 0: line 19997 | line 19998 | line 19999");
    }

    #[tokio::test]
    async fn a_program_that_is_not_there_is_a_clear_no() {
        let command = vec!["/nowhere/smoke-test".to_owned()];
        let gate = gate(GateAsk::Command { command, env: BTreeMap::new() }, LONG);
        let answer = Gates::new().unwrap().ask(&gate, &question()).await;
        assert!(matches!(&answer, Err(GateFault::No(told)) if told.contains("can't be started")), "{answer:?}");
    }

    fn is_running(pid: &str) -> bool {
        std::fs::read_to_string(format!("/proc/{pid}/stat")).is_ok_and(|stat| !stat.contains(") Z "))
    }

    #[tokio::test]
    async fn a_program_that_hangs_is_killed_with_all_that_it_started() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("child");
        let script = format!("sleep 600 & echo $! > {}; echo waiting; wait", file.display());
        let answer = ran(&script, Period::from_millis(1500)).await;
        let told = answer.unwrap_err();
        let expected = "the program did not end within 1s 500ms and was killed: waiting";
        assert_eq!(told, GateFault::Unanswered(expected.to_owned()));
        let child = std::fs::read_to_string(file).unwrap();
        let since = Instant::now();
        while is_running(child.trim()) {
            assert!(since.elapsed() < Duration::from_secs(30), "{child} is still there");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    #[tokio::test]
    async fn what_a_program_leaves_running_is_not_waited_for() {
        let since = Instant::now();
        assert_eq!(ran("sleep 60 & echo $!", LONG).await.unwrap().split(':').next(), Some("exit code 0"));
        assert!(since.elapsed() < Duration::from_secs(30));
    }

    #[tokio::test]
    async fn a_program_that_ended_in_time_is_not_late_for_what_it_left_running() {
        // Shorter than what is waited for its last words; more than once, since a busy machine may take as long to start it.
        let timeout = Period::from_millis(450);
        for _ in 0..20 {
            let answer = ran("sleep 3 & exit 0", timeout).await;
            if answer == Ok("exit code 0".to_owned()) {
                return;
            }
        }
        panic!("it was never in time");
    }

    #[tokio::test]
    async fn a_webhook_that_is_not_there_is_worth_another_try() {
        let ask = GateAsk::Webhook { url: "http://127.0.0.1:1/hook?token=secret".to_owned(), secret_file: None };
        let fault = Gates::new().unwrap().ask(&gate(ask, LONG), &question()).await.unwrap_err();
        assert!(matches!(fault, GateFault::Unanswered(_)));
        assert!(!fault.to_string().contains("secret"), "{fault}");
    }

    odd_input! {
        fn only_a_success_that_does_not_say_no_is_a_yes(
            status in 100..600_u16, allow in prop::sample::select(vec!["", "true", "null", "false", "0", "1", "\"true\"", "\"\"", "[]", "{}"]),
            reason in ".{0,400}", form in any::<bool>(),
        ) {
            let written = Value::from(reason.clone()).to_string();
            let allow = if allow.is_empty() { String::new() } else { format!("\"allow\":{allow},") };
            let body = if form { format!("{{{allow}\"reason\":{written}}}") } else { reason };
            let answer = judged(status, &body);
            let says_no = form && !matches!(allow.as_str(), "" | "\"allow\":true," | "\"allow\":null,");
            prop_assert_eq!(answer.is_ok(), (200..300).contains(&status) && !says_no, "{} {}", status, body);
            let told = answer.unwrap_or_else(|fault| fault.to_string());
            prop_assert!(told.contains(&status.to_string()) && told.chars().count() < 330 && !told.contains(char::is_control), "{told}");
        }
    }
}
