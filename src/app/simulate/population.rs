//! Sticky visitors of a virtual world: how busy each is, on which side, and who has failed already.
//!
//! Good requests are only counted; who sent one does not matter but for the first of each visitor. So only failures and
//! first requests are drawn visitor by visitor, and ten thousand requests per second cost no more than ten.

use super::scenario::Visitors;
use crate::model::BasisPoints;
use rand::RngExt;
use rand::rngs::StdRng;
use rand_distr::weighted::WeightedAliasIndex;
use rand_distr::{Distribution, Exp1, LogNormal};
use std::sync::Arc;

/// Who the visitors are. It is the same in all runs of a scenario; which of them are in the cohort is not.
#[derive(Debug, Clone)]
pub(super) struct People {
    visitors: Visitors,
    /// Each one's part of all requests.
    activity: Vec<f64>,
    by_activity: WeightedAliasIndex<f64>,
    by_activity_of_unlucky: Option<WeightedAliasIndex<f64>>,
    /// The unlucky are the first so many.
    unlucky: usize,
}

impl People {
    /// None where there are no visitors.
    pub(super) fn new(visitors: Visitors, random: &mut StdRng) -> Option<Self> {
        let number = visitors.number.min(Visitors::MOST);
        let busy = LogNormal::new(0.0, visitors.activity_spread).ok()?;
        let mut activity: Vec<f64> = (0..number).map(|_| busy.sample(random)).collect();
        let sum: f64 = activity.iter().sum();
        for part in &mut activity {
            *part /= sum;
        }
        // At most `number`, since the share is at most 1.
        #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss, clippy::cast_precision_loss)]
        let unlucky = ((number as f64 * visitors.unlucky).round() as usize).min(number);
        let by_activity = WeightedAliasIndex::new(activity.clone()).ok()?;
        let by_activity_of_unlucky = WeightedAliasIndex::new(activity[..unlucky].to_vec()).ok();
        Some(Self { visitors, activity, by_activity, by_activity_of_unlucky, unlucky })
    }

    /// How many of the requests of unlucky visitors fail whichever release answers.
    pub(super) fn unlucky_ratio(&self) -> f64 {
        if self.unlucky == 0 { 0.0 } else { self.visitors.unlucky_ratio }
    }
}

/// Both sides' parts of all requests.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub(super) struct Shares {
    /// Of all visitors on that side.
    pub(super) all: f64,
    /// Of the unlucky ones among them.
    pub(super) unlucky: f64,
}

/// A failure of one visitor, as the router counts it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Failure {
    /// Whether the candidate answered.
    pub(super) candidate: bool,
    /// Whether it is the visitor's first of this step.
    pub(super) counted: bool,
    /// Whether it is the first of the rollout.
    pub(super) first: bool,
}

/// The visitors in one run.
#[derive(Debug)]
pub(super) struct Crowd {
    people: Arc<People>,
    bucket: Vec<u16>,
    weight: u16,
    step: u32,
    failed_in_step: Vec<u32>,
    ever_failed: Vec<bool>,
    seen: Vec<bool>,
    /// When each visitor will be timed, in requests since the begin; the next one is last.
    first_requests: Vec<(f64, usize)>,
    requests: f64,
    pub(super) candidate: Shares,
    pub(super) live: Shares,
}

/// Visitors whose first request of the step has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct FirstRequests {
    /// On the candidate.
    pub(super) candidate: u64,
    /// On live.
    pub(super) live: u64,
    /// Those on the candidate that it has not seen before.
    pub(super) new: u64,
}

impl Crowd {
    pub(super) fn new(people: Arc<People>, random: &mut StdRng) -> Self {
        let number = people.activity.len();
        let all = BasisPoints::ALL.get();
        let mut crowd = Self {
            bucket: (0..number).map(|_| random.random_range(0..all)).collect(),
            weight: 0,
            step: 1,
            failed_in_step: vec![0; number],
            ever_failed: vec![false; number],
            seen: vec![false; number],
            first_requests: Vec::new(),
            requests: 0.0,
            candidate: Shares::default(),
            live: Shares::default(),
            people,
        };
        crowd.share();
        crowd
    }

    /// Another weight, or another step: the router forgets who has failed in the last one.
    pub(super) fn begin_step(&mut self, weight: BasisPoints, random: &mut StdRng) {
        self.weight = weight.get();
        self.step += 1;
        self.time_again(random);
        self.share();
    }

    /// The router forgets whom it has timed: of each the next request is timed once more.
    pub(super) fn time_again(&mut self, random: &mut StdRng) {
        // Requests of one come as a Poisson process, so that the wait for the next one begins anew at any moment.
        let begin = self.requests;
        let first = |part: &f64| begin + random.sample::<f64, _>(Exp1) / part;
        self.first_requests = self.people.activity.iter().map(first).zip(0..).collect();
        self.first_requests.sort_unstable_by(|one, other| other.0.total_cmp(&one.0));
    }

    fn share(&mut self) {
        let (mut candidate, mut live) = (Shares::default(), Shares::default());
        for (visitor, part) in self.people.activity.iter().enumerate() {
            let side = if self.bucket[visitor] < self.weight { &mut candidate } else { &mut live };
            side.all += part;
            if visitor < self.people.unlucky {
                side.unlucky += part;
            }
        }
        (self.candidate, self.live) = (candidate, live);
    }

    /// So many more requests have come; whose first ones were among them.
    pub(super) fn pass(&mut self, requests: f64) -> FirstRequests {
        self.requests += requests;
        let mut first = FirstRequests::default();
        while let Some((_, visitor)) = self.first_requests.pop_if(|(at, _)| *at <= self.requests) {
            if self.bucket[visitor] < self.weight {
                first.candidate += 1;
                first.new += u64::from(!std::mem::replace(&mut self.seen[visitor], true));
            } else {
                first.live += 1;
            }
        }
        first
    }

    /// One failure of anyone's; nothing where `keep`, the chance that the side's release really fails, says so.
    pub(super) fn fail(&mut self, random: &mut StdRng, keep: impl Fn(bool) -> f64) -> Option<(Failure, u64)> {
        let visitor = self.people.by_activity.sample(random);
        let candidate = self.bucket[visitor] < self.weight;
        random.random_bool(keep(candidate).clamp(0.0, 1.0)).then(|| self.failed(visitor, candidate))
    }

    /// One failure of an unlucky visitor.
    pub(super) fn fail_unlucky(&mut self, random: &mut StdRng) -> Option<(Failure, u64)> {
        let visitor = self.people.by_activity_of_unlucky.as_ref()?.sample(random);
        Some(self.failed(visitor, self.bucket[visitor] < self.weight))
    }

    pub(super) fn unlucky_ratio(&self) -> f64 {
        self.people.unlucky_ratio()
    }

    /// The failure, and how many visitors of the candidate are new by it.
    fn failed(&mut self, visitor: usize, candidate: bool) -> (Failure, u64) {
        let counted = std::mem::replace(&mut self.failed_in_step[visitor], self.step) != self.step;
        let first = candidate && !std::mem::replace(&mut self.ever_failed[visitor], true);
        let new = candidate && !std::mem::replace(&mut self.seen[visitor], true);
        (Failure { candidate, counted, first }, u64::from(new))
    }
}
