//! One guaranteed check: its evidence against its thresholds, as a finding and in words.

use super::interval::ratios;
use super::latency::LatencyEvidence;
use super::{ComparisonEvidence, words};
use crate::model::view::{CheckView, QuantileView};
use crate::model::{Period, Verdict};
use std::time::Duration;

/// The name of the check for answers that don't come within the lag; always on.
pub const NO_HEAD: &str = "no-head";
/// The name of the check for answers that are cut off after their heads; always on.
pub const CUT_OFF: &str = "cut-off";
/// The name of the check for failing gRPC statuses in trailers; always on.
pub const GRPC_TRAILERS: &str = "grpc-trailers";

/// With fewer ends of candidate answers than this in a step, while many more heads have come, nothing tells whether
/// answers are cut off.
const LEAST_ENDED: u64 = 20;
/// A latency check has compared enough in a step with this many candidate answers: if as many were all slow, at a share of
/// up to a quarter that would lean against the candidate. A returning visitor is timed once in a step, so more of them
/// would keep a small site from ever passing one; where fewer visitors were seen at all, one answer of each is enough.
const LEAST_TIMED: u64 = 8;
/// With fewer requests of live than this in a step nothing tells whether the candidate is worse, whatever it answers: so
/// it is where an operator gives it all traffic.
const LEAST_OF_LIVE: u64 = 10;

/// What a guaranteed check goes by.
#[derive(Debug, Clone, Copy)]
pub(super) enum Parts<'a> {
    /// How often something bad happens to either pool.
    Ratio(&'a ComparisonEvidence),
    /// The same of what Prometheus has counted.
    Counted(&'a ComparisonEvidence),
    /// Answers that don't come: of the timed requests, and, as a rule that only holds a step, of all.
    NoHead(&'a ComparisonEvidence, &'a ComparisonEvidence),
    /// How often answers are slow, at several quantiles.
    Latency(&'a LatencyEvidence),
}

/// The thresholds, and what they are held against beside the evidence.
#[derive(Debug, Clone, Copy)]
pub(super) struct Bar {
    /// ln(1/α) of the whole rollout.
    pub(super) rollback_at: f64,
    /// ln(1/β).
    pub(super) promote_at: f64,
    /// Candidate requests of this step that were answered.
    pub(super) answered: u64,
    /// Requests of live in this step.
    pub(super) of_live: u64,
    /// How many of them pass the step.
    pub(super) min_requests: u64,
}

/// A guaranteed check at one moment.
#[derive(Debug)]
pub(super) struct Compared<'a> {
    pub(super) name: &'a str,
    pub(super) kind: &'static str,
    pub(super) share: f64,
    pub(super) asked: bool,
    pub(super) ln_rollback: f64,
    ln_promote: f64,
    parts: Parts<'a>,
    bar: Bar,
    /// What is known of the source that its counts come from, where that is not the router itself.
    source: Option<CheckView>,
}

/// What a check comes to by itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Finding {
    /// An alarm.
    Worse,
    /// As good as an alarm, but of so few visitors that it may be their bad luck.
    OfFewVisitors,
    /// Its source gives nothing.
    Silent,
    /// Where a good part of all visitors fails, what they do again and again holds a step, though it is no alarm.
    FewFailMuch,
    /// Too many requests of any visitor are without an answer.
    Hanging,
    /// No worse than tolerated.
    Proven,
    /// Half of the way to an alarm: exposure does not pass the step.
    Leaning,
    /// Nothing to speak of has been compared.
    NotCompared,
    /// Enough exposure, and nothing leans.
    Exposed,
    /// Too little of anything.
    Short,
}

impl<'a> Compared<'a> {
    pub(super) fn new(name: &'a str, kind: &'static str, parts: Parts<'a>, share: f64, asked: bool, bar: Bar) -> Self {
        let (ln_rollback, ln_promote) = match parts {
            Parts::Ratio(evidence) | Parts::Counted(evidence) | Parts::NoHead(evidence, _) => {
                (evidence.ln_rollback(), evidence.ln_promote())
            }
            Parts::Latency(evidence) => (evidence.ln_rollback(), evidence.ln_promote()),
        };
        Self { name, kind, share, asked, ln_rollback, ln_promote, parts, bar, source: None }
    }

    /// With what is known of the source of its counts.
    pub(super) fn counted_by(self, source: CheckView) -> Self {
        Self { source: Some(source), ..self }
    }

    /// Why its source is no use at the moment, if it is not.
    fn silent(&self) -> Option<&CheckView> {
        self.source.as_ref().filter(|source| source.verdict != Verdict::Healthy)
    }

    /// What it adds to the merged evidence.
    pub(super) fn ln_contribution(&self) -> f64 {
        self.share.ln() + self.ln_rollback
    }

    /// The ln E that rolls back by this check alone.
    fn rollback_at(&self) -> f64 {
        self.bar.rollback_at - self.share.ln()
    }

    /// Whether enough different draws are behind it for an alarm.
    pub(super) fn alarm_allowed(&self) -> bool {
        self.worst().is_some_and(ComparisonEvidence::alarm_allowed)
    }

    /// The comparison that speaks loudest against the candidate; there is one but in a latency check.
    fn worst(&self) -> Option<&'a ComparisonEvidence> {
        match self.parts {
            Parts::Ratio(evidence) | Parts::Counted(evidence) | Parts::NoHead(evidence, _) => Some(evidence),
            Parts::Latency(evidence) => evidence.worst().map(|(_, evidence, _)| evidence),
        }
    }

    fn over_threshold(&self) -> bool {
        self.ln_rollback >= self.rollback_at()
    }

    pub(super) fn leaning(&self) -> bool {
        self.ln_rollback >= self.rollback_at() / 2.0 || self.hanging()
    }

    /// This rule counts requests, not visitors, and one visitor's slow requests must not take a release back: so it
    /// only holds a step, and does so early.
    fn hanging(&self) -> bool {
        matches!(self.parts, Parts::NoHead(_, late) if late.ln_rollback() >= self.bar.rollback_at / 2.0)
    }

    fn few_fail_much(&self) -> bool {
        match self.parts {
            Parts::Ratio(evidence) => evidence.ln_every() >= self.rollback_at() && evidence.many_of_them_fail(),
            Parts::Counted(_) | Parts::NoHead(..) | Parts::Latency(_) => false,
        }
    }

    /// Whether evidence alone suffices to pass the step.
    pub(super) fn proven(&self) -> bool {
        self.finding() == Finding::Proven
    }

    /// A check of what is timed, or of what is known later, may have compared nothing yet, however many requests were
    /// answered.
    fn compared_anything(&self) -> bool {
        match self.parts {
            Parts::Latency(evidence) => {
                let visitors = self.worst().map_or(0, ComparisonEvidence::draws_seen).max(1);
                evidence.compared() >= LEAST_TIMED.min(visitors).min(self.bar.min_requests)
            }
            Parts::Counted(evidence) => evidence.step().candidate_requests > 0,
            // The ends of answers are known later than their heads, by which exposure is counted.
            Parts::Ratio(evidence) if matches!(self.kind, CUT_OFF | GRPC_TRAILERS) => {
                evidence.step().candidate_requests >= LEAST_ENDED.min(self.bar.min_requests)
            }
            Parts::Ratio(_) | Parts::NoHead(..) => true,
        }
    }

    fn finding(&self) -> Finding {
        if self.over_threshold() {
            // An alarm that only waits for more draws to fail is no time to pass a step, whatever this step alone says.
            return if self.alarm_allowed() { Finding::Worse } else { Finding::OfFewVisitors };
        }
        if self.silent().is_some() {
            Finding::Silent
        } else if self.few_fail_much() {
            Finding::FewFailMuch
        } else if self.hanging() {
            Finding::Hanging
        } else if self.ln_promote >= self.bar.promote_at {
            Finding::Proven
        } else if self.leaning() {
            Finding::Leaning
        } else if !self.compared_anything() {
            Finding::NotCompared
        } else if self.bar.answered >= self.bar.min_requests {
            let least = LEAST_OF_LIVE.min(self.bar.min_requests);
            if self.bar.of_live >= least { Finding::Exposed } else { Finding::NotCompared }
        } else {
            Finding::Short
        }
    }

    pub(super) fn verdict(&self) -> Verdict {
        match self.finding() {
            Finding::Worse => Verdict::Regressed,
            Finding::Silent => self.silent().map_or(Verdict::Insufficient, |source| source.verdict),
            Finding::Proven | Finding::Exposed => Verdict::Healthy,
            Finding::OfFewVisitors
            | Finding::FewFailMuch
            | Finding::Hanging
            | Finding::Leaning
            | Finding::NotCompared
            | Finding::Short => Verdict::Insufficient,
        }
    }

    /// The finding in a sentence.
    pub(super) fn detail(&self) -> String {
        let (against, short) = (self.against(), self.short());
        let draws = self.worst().map_or(0, ComparisonEvidence::failing_draws);
        match self.finding() {
            Finding::Worse => format!("{}: {against}", self.complaint()),
            Finding::OfFewVisitors => self.of_few_visitors(),
            Finding::Silent => self.silent().map(|source| source.detail.clone()).unwrap_or_default(),
            Finding::FewFailMuch => {
                format!("{draws} of the few visitors fail again and again, which is no alarm and no pass: {against}")
            }
            Finding::Hanging => self.hanging_detail(),
            Finding::Proven => format!("no worse than tolerated: {against}; {short}"),
            Finding::Leaning => format!("the evidence leans against the candidate: {against}; {short}"),
            Finding::NotCompared => format!("too little has been compared in this step: {against}"),
            Finding::Exposed => {
                format!("enough exposure, and nothing leans against the candidate: {against}; {short}")
            }
            Finding::Short => format!("not enough evidence: {short}"),
        }
    }

    /// That it would be an alarm, were it not for so few.
    pub(super) fn of_few_visitors(&self) -> String {
        let draws = self.worst().map_or(0, ComparisonEvidence::failing_draws);
        format!("only {draws} different visitors have failed, too few for an alarm: {}", self.against())
    }

    fn complaint(&self) -> &'static str {
        match (self.kind, self.parts) {
            (_, Parts::NoHead(..)) => "the candidate leaves more requests without an answer than live",
            (_, Parts::Latency(_)) => "the candidate is slower than live",
            (CUT_OFF, _) => "the candidate breaks off more answers than live",
            (GRPC_TRAILERS, _) => "the candidate fails more in its trailers than live",
            (_, Parts::Ratio(_) | Parts::Counted(_)) => "the candidate fails more than live",
        }
    }

    /// What was seen of both pools, and how far that is from an alarm.
    fn against(&self) -> String {
        let what = match self.parts {
            Parts::NoHead(..) => "timed candidate requests got no answer within 2 s",
            Parts::Latency(_) => "timed candidate answers were slow",
            Parts::Ratio(_) | Parts::Counted(_) => match self.kind {
                CUT_OFF => "candidate answers were broken off",
                GRPC_TRAILERS => "candidate answers failed in their trailers",
                crate::model::Check::STATUS_RATIO => "candidate answers had one of the statuses",
                _ => "candidate requests failed",
            },
        };
        let counts = self.worst().map(ComparisonEvidence::rollout).unwrap_or_default();
        let mut text = format!(
            "{} {what}, {} of live",
            words::share(counts.candidate_failures, counts.candidate_requests),
            words::share(counts.live_failures, counts.live_requests),
        );
        if let Parts::Latency(evidence) = self.parts
            && let Some((quantile, _, times)) = evidence.worst()
        {
            let limit = times.limit.map_or_else(String::new, |limit| format!(" of {}", words::time(limit)));
            text = format!("{text}, by the limit{limit} at p{}", words::number(quantile * 100.0));
        }
        format!("{text}; ln E {:.1} of {:.1} to roll back", self.ln_rollback, self.rollback_at())
    }

    /// How far it is from a pass.
    fn short(&self) -> String {
        format!(
            "{} of {} candidate requests in this step, ln E {:.1} of {:.1} to promote",
            words::count(self.bar.answered),
            words::count(self.bar.min_requests),
            self.ln_promote,
            self.bar.promote_at,
        )
    }

    fn hanging_detail(&self) -> String {
        let Parts::NoHead(_, late) = self.parts else { return self.against() };
        let counts = late.rollout();
        format!(
            "{} candidate requests got no answer within 2 s, {} of live; ln E {:.1}, and {:.1} holds the step",
            words::share(counts.candidate_failures, counts.candidate_requests),
            words::share(counts.live_failures, counts.live_requests),
            late.ln_rollback(),
            self.bar.rollback_at / 2.0,
        )
    }

    /// Candidate requests that the step still needs for this check, if none of them is bad.
    fn requests_needed(&self) -> Option<u64> {
        if self.verdict() == Verdict::Healthy {
            return Some(0);
        }
        let by_exposure = match self.finding() {
            Finding::Short | Finding::NotCompared => Some(self.bar.min_requests.saturating_sub(self.bar.answered)),
            _ => None,
        };
        let by_evidence = match (self.parts, self.finding()) {
            // It is the whole rollout's evidence that stands against it.
            (_, Finding::Worse | Finding::OfFewVisitors | Finding::Silent | Finding::FewFailMuch | Finding::Hanging)
            // How often a good answer is slow is nothing that could be reckoned with.
            | (Parts::Latency(_), _) => None,
            (Parts::Ratio(evidence) | Parts::Counted(evidence) | Parts::NoHead(evidence, _), _) => {
                evidence.requests_to_promote(self.bar.promote_at).and_then(|needed| self.of_all_requests(evidence, needed))
            }
        };
        by_exposure.into_iter().chain(by_evidence).min()
    }

    /// Requests of which so many are compared, as far as this step tells.
    fn of_all_requests(&self, evidence: &ComparisonEvidence, compared: u64) -> Option<u64> {
        let of_step = evidence.step().candidate_requests;
        let all = self.bar.answered.max(of_step);
        match of_step {
            0 => (all == 0).then_some(compared),
            of_step => Some(compared.saturating_mul(all.div_ceil(of_step))),
        }
    }

    /// Everything about it, for people, at so many candidate requests per second.
    pub(super) fn view(&self, candidate_rate: f64) -> CheckView {
        let counts = self.worst();
        let requests_needed = self.requests_needed();
        CheckView {
            asked: self.asked,
            guaranteed: true,
            share: Some(self.share),
            ln_rollback: Some(self.ln_rollback),
            ln_rollback_threshold: Some(self.rollback_at()),
            ln_promote: Some(self.ln_promote),
            ln_promote_threshold: Some(self.bar.promote_at),
            rollout: counts.map(ComparisonEvidence::rollout),
            step: counts.map(ComparisonEvidence::step),
            ratios: counts.and_then(|counts| ratios(counts.rollout())),
            requests_needed,
            time_needed: requests_needed.and_then(|requests| time_of(requests, candidate_rate)),
            quantiles: match self.parts {
                Parts::Latency(evidence) => quantiles(evidence),
                Parts::Ratio(_) | Parts::Counted(_) | Parts::NoHead(..) => Vec::new(),
            },
            queries: self.source.as_ref().map(|source| source.queries.clone()).unwrap_or_default(),
            ..CheckView::new(self.name, self.kind, self.verdict(), self.detail())
        }
    }
}

/// How long so many requests take, in whole seconds; None where they never come.
fn time_of(requests: u64, rate: f64) -> Option<Period> {
    if requests == 0 {
        return Some(Period::from_secs(0));
    }
    let seconds = Duration::try_from_secs_f64((super::eprocess::as_f64(requests) / rate).ceil()).ok()?;
    Some(Period::from_secs(seconds.as_secs()))
}

fn quantiles(evidence: &LatencyEvidence) -> Vec<QuantileView> {
    let ms = |time: Option<Duration>| time.map(|time| time.as_secs_f64() * 1000.0);
    evidence
        .quantiles()
        .map(|(quantile, evidence, times)| QuantileView {
            quantile,
            limit_ms: ms(times.limit),
            candidate_ms: ms(times.candidate),
            live_ms: ms(times.live),
            ln_rollback: evidence.ln_rollback(),
            slow: evidence.rollout(),
        })
        .collect()
}
