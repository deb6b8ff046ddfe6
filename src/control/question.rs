//! A PromQL check with the names of one rollout filled in, and how it is asked.

use super::ports::{MetricsFault, MetricsSource};
use crate::analysis::{BadOfTotal, PromQlAnswer, PromQlReport};
use crate::model::view::QueryView;
use crate::model::{PoolName, PromQlCheck, PromQlQuestion, ReleaseId, ServiceName, Timestamp};
use futures_util::future::join_all;
use std::time::Duration;

/// The windows of a pair begin this long before the rollout: `increase()` needs two samples, and few scrape less often
/// than each two minutes. What is counted before the first answer is never used.
const BEFORE: Duration = Duration::from_secs(300);
/// Windows of a pair begin anew after so long, so that Prometheus need not read days of samples for each answer.
const LONGEST: Duration = Duration::from_secs(6 * 3600);
/// A pair is asked about a moment so long ago: by then what was scraped until that moment is stored, so that none of its
/// four queries sees a sample that another does not.
const LAG: Duration = Duration::from_secs(5);

/// A pool that is asked about.
#[derive(Debug, Clone)]
pub(super) struct Side {
    pub(super) pool: PoolName,
    /// What runs in it, as far as anyone has said.
    pub(super) release: Option<ReleaseId>,
}

/// A check with what it is about.
#[derive(Debug, Clone)]
pub(super) struct Question {
    pub(super) check: PromQlCheck,
    pub(super) service: ServiceName,
    pub(super) candidate: Side,
    pub(super) live: Side,
    /// When the rollout started.
    pub(super) started: Timestamp,
}

/// What came of asking once.
#[derive(Debug)]
pub(super) struct Asked {
    pub(super) queries: Vec<QueryView>,
    pub(super) answer: Result<PromQlAnswer, MetricsFault>,
}

impl From<Asked> for PromQlReport {
    fn from(asked: Asked) -> Self {
        Self { queries: asked.queries, answer: asked.answer.map_err(|fault| fault.to_string()) }
    }
}

impl Question {
    /// Asks all queries of the check at once.
    pub(super) async fn ask(&self, metrics: Option<&dyn MetricsSource>, now: Timestamp) -> Asked {
        let unanswered = |told: String| Err(MetricsFault::Unanswered(told));
        let is_pair = matches!(self.check.ask, PromQlQuestion::Pair { .. });
        let at = if is_pair { earlier(now, LAG) } else { now };
        let since = self.since(at);
        let mut queries = match self.queries(at, since) {
            Ok(queries) => queries,
            Err(told) => return Asked { queries: Vec::new(), answer: unanswered(told) },
        };
        let Some(metrics) = metrics else {
            return Asked { queries, answer: unanswered("no [prometheus] section says where to ask".to_owned()) };
        };
        let values = join_all(queries.iter().map(|query| metrics.query(&query.query, at))).await;
        for (query, value) in queries.iter_mut().zip(&values) {
            query.value = value.as_ref().ok().copied();
        }
        let values: Result<Vec<f64>, MetricsFault> =
            queries.iter().zip(values).map(|(query, value)| value.map_err(|fault| named(query, fault))).collect();
        let answer = values.map(|values| match *values.as_slice() {
            [candidate, live] => PromQlAnswer::Compared { candidate, live },
            [bad, total, live_bad, live_total] => PromQlAnswer::Counts {
                since,
                candidate: BadOfTotal { bad, total },
                live: BadOfTotal { bad: live_bad, total: live_total },
            },
            ref others => PromQlAnswer::Value(others.first().copied().unwrap_or(f64::NAN)),
        });
        Asked { queries, answer }
    }

    /// The queries as they are asked at this moment, without values.
    fn queries(&self, at: Timestamp, since: Timestamp) -> Result<Vec<QueryView>, String> {
        let view = |what: &str, pool: Option<&Side>, query: &str, window: Duration| {
            let side = pool.unwrap_or(&self.candidate);
            let query = self.resolve(query, side, window)?;
            Ok(QueryView { what: what.to_owned(), pool: pool.map(|side| side.pool.clone()), query, value: None })
        };
        let window = self.check.window.get();
        match &self.check.ask {
            PromQlQuestion::Bounds { query, .. } => Ok(vec![view("value", None, query, window)?]),
            PromQlQuestion::Compare { query, .. } => {
                [&self.candidate, &self.live].map(|side| view("value", Some(side), query, window)).into_iter().collect()
            }
            PromQlQuestion::Pair { bad, total, .. } => {
                let window = Duration::try_from(at.duration_since(since)).unwrap_or_default();
                let (candidate, live) = (&self.candidate, &self.live);
                [("bad", bad, candidate), ("total", total, candidate), ("bad", bad, live), ("total", total, live)]
                    .map(|(what, query, side)| view(what, Some(side), query, window))
                    .into_iter()
                    .collect()
            }
        }
    }

    /// Since when the queries of a pair count: the same moment for hours.
    fn since(&self, at: Timestamp) -> Timestamp {
        let passed = Duration::try_from(at.duration_since(self.started)).unwrap_or_default();
        let whole = passed.as_secs() / LONGEST.as_secs() * LONGEST.as_secs();
        earlier(self.started.checked_add(Duration::from_secs(whole)).unwrap_or(self.started), BEFORE)
    }

    /// Fills in what a query may mention.
    fn resolve(&self, query: &str, side: &Side, window: Duration) -> Result<String, String> {
        let release = match &side.release {
            Some(release) => release.as_str(),
            None if query.contains(RELEASE) => {
                return Err(format!(
                    "nobody has said which release runs in {0}; write it as `release` in [service.pool.{0}], or tell \
                     the pools apart by {{{{pool}}}}",
                    side.pool
                ));
            }
            None => "",
        };
        // None of these has a quote, a backslash or a brace, so none can change the query around it.
        Ok(query
            .replace("{{service}}", self.service.as_str())
            .replace("{{pool}}", side.pool.as_str())
            .replace(RELEASE, release)
            .replace("{{window}}", &promql_duration(window)))
    }
}

const RELEASE: &str = "{{release}}";

/// Which of several queries is at fault.
fn named(query: &QueryView, fault: MetricsFault) -> MetricsFault {
    let Some(pool) = &query.pool else { return fault };
    let told = format!("{} of {pool}: {fault}", query.what);
    match fault {
        MetricsFault::Query(_) => MetricsFault::Query(told),
        MetricsFault::Unanswered(_) => MetricsFault::Unanswered(told),
    }
}

fn earlier(at: Timestamp, by: Duration) -> Timestamp {
    at.checked_sub(by).unwrap_or(at)
}

/// As PromQL writes it, to the millisecond; never 0, which is no window.
fn promql_duration(duration: Duration) -> String {
    match (duration.as_secs(), duration.subsec_millis()) {
        (0, 0) => "1ms".to_owned(),
        (seconds, 0) => format!("{seconds}s"),
        _ => format!("{}ms", duration.as_millis()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{Period, Worse};
    use std::future::Future;
    use std::pin::Pin;
    use std::sync::Mutex;

    /// Gives each query the next of its answers, and remembers what it was asked.
    #[derive(Debug, Default)]
    struct Script {
        answers: Mutex<Vec<Result<f64, MetricsFault>>>,
        asked: Mutex<Vec<(String, Timestamp)>>,
    }

    impl MetricsSource for Script {
        fn query<'q>(
            &'q self,
            query: &'q str,
            at: Timestamp,
        ) -> Pin<Box<dyn Future<Output = Result<f64, MetricsFault>> + Send + 'q>> {
            self.asked.lock().unwrap().push((query.to_owned(), at));
            Box::pin(std::future::ready(self.answers.lock().unwrap().remove(0)))
        }
    }

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(second).unwrap()
    }

    const STARTED: i64 = 1_000_000;

    fn question(ask: PromQlQuestion, live_release: Option<&str>) -> Question {
        let side = |pool: &str, release: Option<&str>| Side {
            pool: pool.parse().unwrap(),
            release: release.map(|release| release.parse().unwrap()),
        };
        Question {
            check: PromQlCheck {
                name: "n".to_owned(),
                ask,
                every: Period::from_secs(15),
                window: Period::from_secs(90),
                failures: 3,
            },
            service: "shop".parse().unwrap(),
            candidate: side("server1", Some("v2")),
            live: side("server0", live_release),
            started: at(STARTED),
        }
    }

    fn script(answers: &[Result<f64, &str>]) -> Script {
        let answers = answers.iter().map(|answer| answer.map_err(|fault| MetricsFault::Unanswered(fault.to_owned())));
        Script { answers: Mutex::new(answers.collect()), ..Script::default() }
    }

    fn bounds(query: &str) -> PromQlQuestion {
        PromQlQuestion::Bounds { query: query.to_owned(), max: Some(1.0), min: None }
    }

    #[tokio::test]
    async fn a_query_is_asked_with_everything_filled_in() {
        let query = r#"rate(x{r="{{release}}",p="{{pool}}",s="{{service}}"}[{{window}}])"#;
        let script = script(&[Ok(2.0)]);
        let asked = question(bounds(query), None).ask(Some(&script), at(STARTED + 7)).await;
        let resolved = r#"rate(x{r="v2",p="server1",s="shop"}[90s])"#;
        assert_eq!(*script.asked.lock().unwrap(), [(resolved.to_owned(), at(STARTED + 7))]);
        assert_eq!(asked.answer, Ok(PromQlAnswer::Value(2.0)));
        let expected = QueryView { what: "value".to_owned(), pool: None, query: resolved.to_owned(), value: Some(2.0) };
        assert_eq!(asked.queries, [expected]);
    }

    #[tokio::test]
    async fn a_comparison_asks_for_each_pool_and_names_the_one_that_gives_nothing() {
        let ask =
            |query: &str| PromQlQuestion::Compare { query: query.to_owned(), tolerate: 0.1, worse: Worse::Higher };
        let both = script(&[Ok(2.0), Ok(1.0)]);
        let asked = question(ask("x{{pool}}{{release}}"), Some("v1")).ask(Some(&both), at(STARTED)).await;
        assert_eq!(asked.answer, Ok(PromQlAnswer::Compared { candidate: 2.0, live: 1.0 }));
        let queries: Vec<_> = asked.queries.iter().map(|query| query.query.as_str()).collect();
        assert_eq!(queries, ["xserver1v2", "xserver0v1"]);
        let half = script(&[Ok(2.0), Err("no series")]);
        let asked = question(ask("x{{pool}}"), None).ask(Some(&half), at(STARTED)).await;
        assert_eq!(asked.answer.unwrap_err().to_string(), "value of server0: no series");
        assert_eq!(asked.queries[0].value, Some(2.0), "what came is shown all the same");
    }

    #[tokio::test]
    async fn lives_release_must_be_known_where_a_query_asks_for_it() {
        let ask = PromQlQuestion::Compare { query: "x{{release}}".to_owned(), tolerate: 0.1, worse: Worse::Higher };
        let asked = question(ask, None).ask(Some(&script(&[])), at(STARTED)).await;
        let told = asked.answer.unwrap_err().to_string();
        assert!(told.starts_with("nobody has said which release runs in server0"), "{told}");
    }

    #[tokio::test]
    async fn a_pair_counts_since_the_same_moment_in_all_its_queries_and_answers() {
        let ask = PromQlQuestion::Pair {
            bad: "b{{pool}}[{{window}}]".to_owned(),
            total: "t{{pool}}[{{window}}]".to_owned(),
            tolerate: 0.0,
        };
        let question = question(ask, None);
        let mut sinces = Vec::new();
        for (seconds, window) in [(0, "295s"), (15, "310s"), (6 * 3600 + 4, "21899s"), (6 * 3600 + 5, "300s")] {
            let script = script(&[Ok(1.0), Ok(10.0), Ok(2.0), Ok(20.0)]);
            let asked = question.ask(Some(&script), at(STARTED + seconds)).await;
            let Ok(PromQlAnswer::Counts { since, candidate, live }) = asked.answer else { panic!("{asked:?}") };
            assert_eq!((candidate, live), (BadOfTotal { bad: 1.0, total: 10.0 }, BadOfTotal { bad: 2.0, total: 20.0 }));
            sinces.push(since);
            let expected = ["bserver1", "tserver1", "bserver0", "tserver0"]
                .map(|name| (format!("{name}[{window}]"), at(STARTED + seconds - 5)));
            assert_eq!(*script.asked.lock().unwrap(), expected);
        }
        let first = at(STARTED - 300);
        assert_eq!(sinces, [first, first, first, at(STARTED + 6 * 3600 - 300)]);
    }

    #[tokio::test]
    async fn without_a_source_nobody_answers() {
        let asked = question(bounds("up"), None).ask(None, at(STARTED)).await;
        assert!(asked.answer.unwrap_err().to_string().contains("no [prometheus] section"));
    }

    #[test]
    fn a_duration_is_written_as_promql_reads_it() {
        for (millis, text) in [(0, "1ms"), (60_000, "60s"), (1500, "1500ms"), (5_400_000, "5400s")] {
            assert_eq!(promql_duration(Duration::from_millis(millis)), text);
        }
    }
}
