//! A service in words: what is live, what a rollout does, and why it does not move.

use super::evidence;
use super::output::{columns, grouped, indented, plain};
use crate::model::view::{EvidenceView, GateView, PoolView, RolloutView, ServiceView, StepView, TargetView};
use crate::model::{Held, Mode, ModeSource, Period, Phase, PoolName, Timestamp};
use std::fmt::Write as _;
use std::time::Duration;

/// How much is shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Extent {
    /// Everything.
    Service,
    /// What concerns the rollout.
    Rollout,
}

/// One sentence, for what a command led to.
pub(super) fn summary(view: &ServiceView) -> String {
    let mut text = format!("{}: {} is live", view.name, view.live);
    if let Some(candidate) = &view.candidate {
        let _ = write!(text, ", {candidate} gets {}% ({})", view.weight, view.phase);
    }
    if let Some(held) = &view.held {
        let _ = write!(text, ", held by {}: {}", held.by, plain(&held.reason));
    }
    if view.mode != Mode::Serve {
        let _ = write!(text, "; mode {}", mode(view));
    }
    if !view.durable {
        text.push_str("\n  ! ");
        text.push_str(NOT_DURABLE);
    }
    text
}

const NOT_DURABLE: &str = "the state does not hold all of this yet; it is written as soon as it can be";

/// All of a service, or all of its rollout.
pub(super) fn overview(view: &ServiceView, evidence: Option<&EvidenceView>, extent: Extent, now: Timestamp) -> String {
    let mut text = format!("{}\n{}", view.name, indented(&columns(&facts(view, evidence, now)), 2));
    if extent == Extent::Service {
        text.push_str("\npools\n");
        for (name, pool) in &view.pools {
            text.push_str(&pool_lines(view, name, pool));
        }
    }
    if let Some(rollout) = &view.rollout {
        let _ = write!(text, "\nsteps\n{}", indented(&steps(view.phase, rollout), 2));
    }
    if let Some(rollout) = view.rollout.as_ref().filter(|rollout| !rollout.gates.is_empty()) {
        let rows: Vec<_> = rollout.gates.iter().map(|gate| gate_row(gate, now)).collect();
        let _ = write!(text, "\ngates\n{}", indented(&columns(&rows), 2));
    }
    if let Some(evidence) = evidence.filter(|evidence| is_worth_showing(evidence)) {
        let lines = match extent {
            Extent::Service => evidence::short(evidence),
            Extent::Rollout => evidence::full(evidence),
        };
        let _ = write!(text, "\nevidence\n{lines}");
    }
    let warnings = view.warnings.iter().map(|warning| plain(warning));
    let warnings: Vec<String> = warnings.chain((!view.durable).then(|| NOT_DURABLE.to_owned())).collect();
    if !warnings.is_empty() {
        let _ = write!(text, "\nwarnings\n  ! {}\n", warnings.join("\n  ! "));
    }
    text
}

/// While no rollout is under way there is only the guard, which matters when it fires.
fn is_worth_showing(evidence: &EvidenceView) -> bool {
    !evidence.checks.is_empty() || evidence.guard.as_ref().is_some_and(|guard| guard.firing)
}

fn facts(view: &ServiceView, evidence: Option<&EvidenceView>, now: Timestamp) -> Vec<[String; 2]> {
    let mut facts = vec![fact("mode", mode(view))];
    if let Some(meanwhile) = view.meanwhile.as_ref().filter(|meanwhile| meanwhile.until.is_none()) {
        facts.push(fact("meanwhile", format!("{meanwhile} in {}", between(meanwhile.since, now))));
    }
    if view.held_requests > 0 {
        facts.push(fact("waiting", format!("{} requests wait", grouped(view.held_requests))));
    }
    facts.push(fact("live", pool_with_release(view, &view.live)));
    if let Some(candidate) = &view.candidate {
        facts.push(fact("candidate", format!("{}, {}%", pool_with_release(view, candidate), view.weight)));
    }
    facts.push(fact("phase", phase(view, now)));
    if let Some(until) = view.watch_until.filter(|until| *until > now) {
        let left = between(now, until);
        let back = "`cutover rollout rollback` makes it live again";
        facts.push(fact("watch", format!("the old pool stays warm for another {left}; {back}")));
    }
    if let Some(verdict) = view.verdict {
        let reason = evidence.map(|evidence| plain(&evidence.reason)).filter(|reason| !reason.is_empty());
        facts.push(fact("verdict", reason.map_or(verdict.to_string(), |reason| format!("{verdict}: {reason}"))));
    }
    if let Some(Held { by, reason, since }) = &view.held {
        facts.push(fact("held", format!("by {by} for {}: {}", between(*since, now), plain(reason))));
    }
    if let Some(deploy) = view.deploy.as_ref().filter(|deploy| deploy.is_under_way()) {
        let (release, pool, by) = (&deploy.release, &deploy.pool, plain(&deploy.by));
        facts.push(fact("deploy", format!("{release} to {pool} by {by}, begun {} ago", between(deploy.started, now))));
    }
    if let Some(rollout) = &view.rollout {
        if !rollout.waiting_for.is_empty() {
            facts.push(fact("waits for", plain(&rollout.waiting_for)));
        }
        facts.extend(rollout.gates.iter().map(gate));
        if is_under_way(view.phase) {
            let (candidate, live) = (rollout.candidate_rate, rollout.live_rate);
            facts.push(fact("requests", format!("candidate {candidate:.1}/s, live {live:.1}/s")));
        }
    }
    facts
}

fn fact(name: &str, text: impl Into<String>) -> [String; 2] {
    [name.to_owned(), text.into()]
}

fn gate(gate: &GateView) -> [String; 2] {
    let step = gate.step.map(|step| format!(" {}", step + 1)).unwrap_or_default();
    fact("gate", format!("{} at {}{step}: {}, {}", plain(&gate.name), gate.at, gate.state, plain(&gate.detail)))
}

fn mode(view: &ServiceView) -> String {
    let why = match (view.mode, view.mode_source) {
        (Mode::Serve, _) => return Mode::Serve.to_string(),
        (_, ModeSource::NoHealthyPool) => "unplanned: no pool has a healthy target".to_owned(),
        (_, ModeSource::File) => {
            let file = view.mode_file.as_deref().map_or_else(|| "the flag file".to_owned(), plain);
            format!("because {file} exists; remove it to serve")
        }
        (_, ModeSource::Command) => {
            let after = view.deploy.as_ref().and_then(|deploy| deploy.before(view.mode_setting.mode));
            let after = after.map_or(Mode::Serve, |before| before.mode);
            let until = view.mode_setting.until.map(|until| until.strftime(" until %Y-%m-%d %H:%M:%SZ, then "));
            let until = until.map(|until| format!("{until}{after}"));
            let message = view.mode_setting.message.as_deref().map(|message| format!(", saying {:?}", plain(message)));
            format!("by command{}{}", until.unwrap_or_default(), message.unwrap_or_default())
        }
    };
    let anonymous = if view.mode == Mode::ReadOnly && view.mode_setting.anonymous { " and anonymous" } else { "" };
    format!("{}{anonymous}, {why}", view.mode)
}

fn pool_with_release(view: &ServiceView, name: &PoolName) -> String {
    let release = view.pools.get(name).and_then(|pool| pool.release.as_ref());
    release.map_or_else(|| name.to_string(), |release| format!("{name}, release {release}"))
}

fn phase(view: &ServiceView, now: Timestamp) -> String {
    match &view.rollout {
        Some(rollout) if is_under_way(view.phase) && !rollout.steps.is_empty() => {
            let since = between(rollout.step_since, now);
            format!("{}, step {} of {} for {since}", view.phase, rollout.step + 1, rollout.steps.len())
        }
        Some(_) | None => view.phase.to_string(),
    }
}

fn is_under_way(phase: Phase) -> bool {
    match phase {
        Phase::Preview | Phase::Canary => true,
        Phase::Idle | Phase::Promoted | Phase::RolledBack => false,
    }
}

/// The time from one moment to a later one, in whole seconds.
pub(super) fn between(from: Timestamp, to: Timestamp) -> Period {
    whole_seconds(Duration::try_from(to.duration_since(from)).unwrap_or_default())
}

fn whole_seconds(duration: Duration) -> Period {
    Period::from(Duration::from_secs(duration.as_secs()))
}

fn pool_lines(view: &ServiceView, name: &PoolName, pool: &PoolView) -> String {
    let role = if *name == view.live {
        "live"
    } else if Some(name) == view.candidate.as_ref() {
        "candidate"
    } else {
        "spare"
    };
    let release = pool.release.as_ref().map_or_else(String::new, |release| format!(", release {release}"));
    let drained = if pool.drained { ", drained" } else { "" };
    let mut text = format!("  {name}: {role}{release}, {} requests in it{drained}\n", grouped(pool.in_flight));
    let targets: Vec<_> = pool.targets.iter().map(|target| [plain(&target.address), health(target)]).collect();
    text.push_str(&indented(&columns(&targets), 4));
    text
}

fn health(target: &TargetView) -> String {
    let says = target.release.as_ref().map(|release| format!(", says release {release}")).unwrap_or_default();
    if let Some(until) = target.ejected_until.filter(|_| target.healthy) {
        return format!("ejected until {}{says}: it fails requests", until.strftime("%H:%M:%SZ"));
    }
    match (target.healthy, &target.fault) {
        (true, _) => format!("up{says}"),
        (false, None) => format!("down{says}"),
        (false, Some(fault)) => format!("down{says}: {}", plain(fault)),
    }
}

fn steps(phase: Phase, rollout: &RolloutView) -> String {
    let heading = ["", "share", "at least", "expected"].map(str::to_owned);
    let row = |(index, step): (usize, &StepView)| {
        let standing = standing(phase, index, rollout.step);
        let is_ahead = matches!(standing, Standing::Now | Standing::ToCome);
        let expected = match step.expected {
            _ if !is_ahead => String::new(),
            Some(expected) => format!("about {}", whole_seconds(expected.get())),
            None => "unknown: nothing comes in".to_owned(),
        };
        [standing.word().to_owned(), format!("{}%", step.weight), step.hold.to_string(), expected]
    };
    let rows: Vec<_> = std::iter::once(heading).chain(rollout.steps.iter().enumerate().map(row)).collect();
    columns(&rows)
}

/// What was asked when, how it stands since when, and why.
fn gate_row(gate: &GateView, now: Timestamp) -> [String; 4] {
    let at = gate.step.map_or_else(|| gate.at.to_string(), |step| format!("{} {}", gate.at, step + 1));
    let state = format!("{} {} ago", plain(&gate.state), between(gate.since, now));
    [plain(&gate.name), at, state, plain(&gate.detail)]
}

/// Where a step stands in its rollout.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Standing {
    Passed,
    Now,
    Stopped,
    ToCome,
    Skipped,
}

impl Standing {
    fn word(self) -> &'static str {
        match self {
            Self::Passed => "passed",
            Self::Now => "now",
            Self::Stopped => "stopped",
            Self::ToCome => "to come",
            Self::Skipped => "-",
        }
    }
}

fn standing(phase: Phase, index: usize, at: usize) -> Standing {
    match phase {
        Phase::Preview | Phase::Canary if index == at => Standing::Now,
        Phase::Preview | Phase::Canary if index > at => Standing::ToCome,
        Phase::RolledBack if index == at => Standing::Stopped,
        Phase::Idle | Phase::Promoted | Phase::RolledBack if index > at => Standing::Skipped,
        Phase::Idle | Phase::Preview | Phase::Canary | Phase::Promoted | Phase::RolledBack => Standing::Passed,
    }
}

#[cfg(test)]
mod tests {
    use super::super::output::steers;
    use super::super::samples::{canary, evidence, time};
    use super::*;
    use crate::model::{Deploy, DeployGuard, GatePoint, HeldBy, Meanwhile, ModeSetting};
    use crate::odd_input::{misplace, odd_value};
    use proptest::prelude::*;

    const NOW: &str = "2026-11-22T04:04:10.9Z";

    fn shown(view: &ServiceView, extent: Extent) -> String {
        overview(view, Some(&evidence()), extent, time(NOW))
    }

    #[test]
    fn the_status_of_a_canary_says_why_it_does_not_move() {
        let expected = "\
shop
  mode       serve
  live       server0, release 2026.11.1
  candidate  server1, release 2026.11.2, 12.5%
  phase      canary, step 2 of 3 for 2m 10s
  verdict    insufficient: not enough evidence yet
  waits for  1,200 more requests of the candidate
  requests   candidate 12.3/s, live 86.0/s

pools
  server0: live, release 2026.11.1, 1,234 requests in it
    127.0.0.1:9000  up
  server1: candidate, release 2026.11.2, 2 requests in it
    a:1          up
    10.0.0.12:1  down: connection refused\\u{7}

steps
           share  at least  expected
  passed   1%     2m
  now      12.5%  5m        about 6m 17s
  to come  50%    5m        unknown: nothing comes in

evidence
                             says          ln E rolls back  ln E passes    needs
  error-ratio                insufficient  2.31 of 4.61     -0.50 of 3.00
  failed jobs (a heuristic)  healthy
";
        assert_eq!(shown(&canary(), Extent::Service), expected);
        let text = shown(&canary(), Extent::Rollout);
        assert!(!text.contains("pools"), "{text}");
        assert!(text.contains("    against it  [##########----------] ln E 2.31; 4.61 rolls back\n"), "{text}");
    }

    #[test]
    fn a_deploy_under_way_is_told_with_who_walks_it() {
        let mut view = canary();
        view.deploy = Some(Deploy {
            pool: "server1".parse().unwrap(),
            release: "2026.11.2".parse().unwrap(),
            by: "me@here, run 1\x07".to_owned(),
            started: time("2026-11-22T04:02:10Z"),
            done: Vec::new(),
            guard: None,
            ended: None,
        });
        let text = shown(&view, Extent::Service);
        assert!(text.contains("  deploy     2026.11.2 to server1 by me@here, run 1\\u{7}, begun 2m ago\n"), "{text}");
        view.deploy.as_mut().unwrap().ended = Some(crate::model::DeployEnd::Promoted);
        assert!(!shown(&view, Extent::Service).contains("deploy"), "it is over");
    }

    #[test]
    fn gates_are_told_with_what_they_said() {
        let mut view = canary();
        view.rollout.as_mut().unwrap().gates = vec![GateView {
            name: "smoke".to_owned(),
            at: GatePoint::BeforeStep,
            step: Some(1),
            state: "failed".to_owned(),
            detail: "exit code 1\x07".to_owned(),
            since: time("2026-11-22T04:02:10Z"),
        }];
        let text = shown(&view, Extent::Service);
        assert!(text.contains("\ngates\n  smoke  before-step 2  failed 2m ago  exit code 1\\u{7}\n"), "{text}");
    }

    #[test]
    fn a_hold_names_who_holds_and_for_how_long() {
        let held = Held { by: HeldBy::Evidence, reason: "step\n5".to_owned(), since: time("2026-11-22T04:03:00Z") };
        let view = ServiceView { held: Some(held), ..canary() };
        assert!(shown(&view, Extent::Rollout).contains("\n  held       by evidence for 1m 10s: step\\n5\n"));
        assert_eq!(summary(&view), "shop: server0 is live, server1 gets 12.5% (canary), held by evidence: step\\n5");
    }

    #[test]
    fn what_is_not_durable_and_what_is_warned_about_is_shown() {
        let view = ServiceView { durable: false, warnings: vec!["disk full".to_owned()], ..canary() };
        let text = shown(&view, Extent::Rollout);
        assert!(text.ends_with(&format!("\nwarnings\n  ! disk full\n  ! {NOT_DURABLE}\n")), "{text}");
        assert!(summary(&view).ends_with(NOT_DURABLE));
    }

    #[test]
    fn a_promotion_says_how_long_it_can_be_taken_back() {
        let mut view = ServiceView {
            phase: Phase::Promoted,
            live: "server1".parse().unwrap(),
            candidate: None,
            watch_until: Some(time("2026-11-22T04:10:00Z")),
            verdict: None,
            ..canary()
        };
        let text = overview(&view, None, Extent::Service, time(NOW));
        assert!(
            text.contains("  watch      the old pool stays warm for another 5m 49s; `cutover rollout rollback`"),
            "{text}"
        );
        assert!(
            text.contains("  server0: spare") && text.contains("  passed  12.5%") && text.contains("  -       50%"),
            "{text}"
        );
        view.watch_until = Some(time("2026-11-22T04:00:00Z"));
        assert!(!overview(&view, None, Extent::Service, time(NOW)).contains("watch"));
    }

    #[test]
    fn a_rollback_says_at_which_step() {
        let view = ServiceView { phase: Phase::RolledBack, candidate: None, ..canary() };
        assert!(shown(&view, Extent::Rollout).contains("  stopped  12.5%"));
    }

    #[test]
    fn what_came_in_meanwhile_is_told_while_it_lasts() {
        let mut meanwhile = Meanwhile {
            since: time("2026-11-22T04:02:10Z"),
            until: None,
            requests: 2,
            methods: [("GET".to_owned(), 2)].into(),
        };
        let view = |meanwhile: &Meanwhile| ServiceView { meanwhile: Some(meanwhile.clone()), ..canary() };
        let text = shown(&view(&meanwhile), Extent::Service);
        assert!(
            text.contains("\n  meanwhile  2 requests were answered by the router itself (2 GET) in 2m\n"),
            "{text}"
        );
        meanwhile.until = Some(time("2026-11-22T04:03:00Z"));
        assert!(!shown(&view(&meanwhile), Extent::Service).contains("meanwhile"));
    }

    #[test]
    fn maintenance_says_what_put_it_there() {
        let view = |mode_source, mode_file: Option<&str>, mode_setting| ServiceView {
            mode: Mode::Maintenance,
            mode_source,
            mode_file: mode_file.map(str::to_owned),
            mode_setting,
            candidate: None,
            ..canary()
        };
        let said = ModeSetting {
            until: Some(time("2026-11-22T18:30:00Z")),
            message: Some("soon".to_owned()),
            ..ModeSetting::default()
        };
        for (view, expected) in [
            (
                view(ModeSource::Command, None, said),
                "by command until 2026-11-22 18:30:00Z, then serve, saying \"soon\"",
            ),
            (view(ModeSource::File, Some("/on"), ModeSetting::default()), "because /on exists; remove it to serve"),
            (view(ModeSource::NoHealthyPool, None, ModeSetting::default()), "unplanned: no pool has a healthy target"),
        ] {
            assert_eq!(summary(&view), format!("shop: server0 is live; mode maintenance, {expected}"));
        }
        let until = Some(time("2026-11-22T18:30:00Z"));
        let mut view = view(ModeSource::Command, None, ModeSetting { until, ..ModeSetting::of(Mode::Maintenance) });
        view.deploy = Some(Deploy {
            pool: "server1".parse().unwrap(),
            release: "2026.11.2".parse().unwrap(),
            by: "me@here, run 1".to_owned(),
            started: time("2026-11-22T04:02:10Z"),
            done: Vec::new(),
            guard: Some(DeployGuard { mode: Mode::Maintenance, before: ModeSetting::of(Mode::ReadOnly) }),
            ended: None,
        });
        assert!(summary(&view).contains("Z, then read-only"), "{}", summary(&view));
    }

    odd_input! {
        fn whatever_a_router_answers_is_shown_without_steering_the_terminal(
            odd in prop::collection::vec((any::<usize>(), odd_value()), 1..3), of_evidence in any::<bool>(), now in any::<i32>(),
        ) {
            let held = Held { by: HeldBy::Evidence, reason: "so".to_owned(), since: time("2026-11-22T04:03:00Z") };
            let view = ServiceView { held: Some(held), ..canary() };
            let (mut view, mut evidence) = (serde_json::to_value(view).unwrap(), serde_json::to_value(evidence()).unwrap());
            for (at, value) in odd {
                misplace(if of_evidence { &mut evidence } else { &mut view }, at, value);
            }
            let now = Timestamp::from_second(now.into()).unwrap();
            if let (Ok(view), Ok(evidence)) = (serde_json::from_value(view), serde_json::from_value(evidence)) {
                let all = |extent| overview(&view, Some(&evidence), extent, now);
                for text in [all(Extent::Service), all(Extent::Rollout), summary(&view)] {
                    prop_assert!(!text.contains(|c| steers(c) && c != '\n'), "{text:?}");
                }
            }
        }
    }
}
