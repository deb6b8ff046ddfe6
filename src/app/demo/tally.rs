//! What visitors met, act by act.

use super::act::Act;
use hyper::Method;

/// What became of one request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Met {
    /// An answer, whole.
    Answer {
        /// Whether it was a 5xx.
        failed: bool,
        /// The release that gave it; none where the router did.
        release: Option<String>,
    },
    /// A connection that broke, or no answer at all.
    Broken,
}

/// What visitors met in one act.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct Counts {
    /// All requests.
    pub(super) requests: u64,
    /// Of those, the POSTs.
    pub(super) posts: u64,
    /// 5xx of a release that is not at fault.
    pub(super) usual_errors: u64,
    /// 5xx of the bad release, or of the router in its place, on a GET.
    pub(super) bad_gets: u64,
    /// The same on a POST.
    pub(super) bad_posts: u64,
    /// No whole answer to a GET.
    pub(super) broken_gets: u64,
    /// No whole answer to a POST.
    pub(super) broken_posts: u64,
}

impl Counts {
    /// 5xx that the bad release is to blame for.
    pub(super) fn bad_release(&self) -> u64 {
        self.bad_gets + self.bad_posts
    }

    /// Everything that went wrong for a visitor.
    pub(super) fn errors(&self) -> u64 {
        self.usual_errors + self.bad_release() + self.broken_gets + self.broken_posts
    }

    fn and(self, other: &Self) -> Self {
        Self {
            requests: self.requests + other.requests,
            posts: self.posts + other.posts,
            usual_errors: self.usual_errors + other.usual_errors,
            bad_gets: self.bad_gets + other.bad_gets,
            bad_posts: self.bad_posts + other.bad_posts,
            broken_gets: self.broken_gets + other.broken_gets,
            broken_posts: self.broken_posts + other.broken_posts,
        }
    }
}

/// What all visitors met.
#[derive(Debug, Default)]
pub(super) struct Tally {
    act: Act,
    acts: [Counts; Act::ALL.len()],
    bad_release: Option<String>,
}

impl Tally {
    /// From now on requests belong to this act.
    pub(super) fn begin(&mut self, act: Act) {
        self.act = act;
    }

    /// From now on the 5xx of this release are counted apart.
    pub(super) fn watch_out_for(&mut self, release: &str) {
        self.bad_release = Some(release.to_owned());
    }

    /// A request begins; it belongs to the act of its beginning.
    pub(super) fn arrive(&self) -> Act {
        self.act
    }

    /// A request has ended.
    pub(super) fn leave(&mut self, act: Act, method: &Method, met: Met) {
        let counts = &mut self.acts[act.index()];
        let is_post = *method == Method::POST;
        counts.requests += 1;
        counts.posts += u64::from(is_post);
        let count = match met {
            Met::Answer { failed: false, .. } => return,
            Met::Answer { failed: true, release } if release.is_some() && release != self.bad_release => {
                &mut counts.usual_errors
            }
            Met::Answer { failed: true, .. } if is_post => &mut counts.bad_posts,
            Met::Answer { failed: true, .. } => &mut counts.bad_gets,
            Met::Broken if is_post => &mut counts.broken_posts,
            Met::Broken => &mut counts.broken_gets,
        };
        *count += 1;
    }

    /// What visitors met in an act.
    pub(super) fn of(&self, act: Act) -> Counts {
        self.acts[act.index()]
    }

    /// What visitors met in all acts.
    pub(super) fn total(&self) -> Counts {
        self.acts.iter().fold(Counts::default(), Counts::and)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn errors_are_told_apart_by_whose_they_are() {
        let mut tally = Tally::default();
        let mut meet = |method: Method, met: Met| {
            let act = tally.arrive();
            tally.leave(act, &method, met);
        };
        let answer = |failed, release: Option<&str>| Met::Answer { failed, release: release.map(str::to_owned) };
        meet(Method::GET, answer(false, Some("1.0")));
        meet(Method::GET, answer(true, Some("1.0")));
        meet(Method::POST, answer(true, None));
        meet(Method::POST, Met::Broken);
        tally.begin(Act::Bad);
        tally.watch_out_for("1.2");
        for method in [Method::GET, Method::POST] {
            tally.leave(Act::Bad, &method, answer(true, Some("1.2")));
        }
        let opening = tally.of(Act::Opening);
        let expected =
            Counts { requests: 4, posts: 2, usual_errors: 1, bad_posts: 1, broken_posts: 1, ..Counts::default() };
        assert_eq!(opening, expected);
        assert_eq!(tally.of(Act::Bad).bad_release(), 2);
        assert_eq!((tally.total().requests, tally.total().errors()), (6, 5));
    }
}
