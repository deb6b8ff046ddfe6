//! What an answer of Prometheus says: one number, or why not.
//!
//! The format: <https://prometheus.io/docs/prometheus/latest/querying/api/>.

use crate::control::ports::MetricsFault::{self, Query, Unanswered};
use http::StatusCode;
use serde::Deserialize;
use serde::de::IgnoredAny;

#[derive(Deserialize)]
#[serde(tag = "status", rename_all = "lowercase")]
enum Answer {
    Success {
        data: Data,
        /// Of a part that could not be asked, for example. Infos, which are hints for writing queries, are not read.
        #[serde(default)]
        warnings: Vec<String>,
    },
    Error {
        #[serde(rename = "errorType", default)]
        kind: String,
        #[serde(default)]
        error: String,
    },
}

#[derive(Deserialize)]
#[serde(tag = "resultType", content = "result", rename_all = "lowercase")]
enum Data {
    Scalar(Point),
    Vector(Vec<Series>),
    Matrix(IgnoredAny),
    String(IgnoredAny),
}

#[derive(Deserialize)]
struct Series {
    /// A native histogram has none.
    value: Option<Point>,
}

/// A moment, which is the one that was asked for, and a value as text.
type Point = (IgnoredAny, String);

/// What Prometheus calls a query that it can't parse.
const BAD_DATA: &str = "bad_data";

/// The longest text of another program that goes into a sentence.
const LONGEST_QUOTE: usize = 300;

/// The one number of an answer.
pub(super) fn number(status: StatusCode, body: &[u8]) -> Result<f64, MetricsFault> {
    match serde_json::from_slice(body) {
        Ok(Answer::Error { kind, error }) => {
            let told = format!("Prometheus refuses the query ({}): {}", quote(&kind), quote(&error));
            Err(if status == StatusCode::BAD_REQUEST && kind == BAD_DATA { Query(told) } else { Unanswered(told) })
        }
        Ok(Answer::Success { warnings, .. }) if status.is_success() && !warnings.is_empty() => {
            let told = quote(&warnings.join("; "));
            Err(Unanswered(format!("Prometheus warns that its answer can't be relied on: {told}")))
        }
        Ok(Answer::Success { data, .. }) if status.is_success() => one(data),
        _ if matches!(status, StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN) => Err(Unanswered(format!(
            "Prometheus lets nobody in that way (HTTP {}); are `bearer_token_file`, or `username` and `password_file`, \
             in [prometheus] right?",
            status.as_u16()
        ))),
        _ if !status.is_success() => Err(Unanswered(format!("Prometheus answered HTTP {}", status.as_u16()))),
        Ok(Answer::Success { .. }) | Err(_) => {
            Err(Unanswered("the answer is not that of a Prometheus server; is `url` in [prometheus] right?".to_owned()))
        }
    }
}

fn one(data: Data) -> Result<f64, MetricsFault> {
    let unanswered = |told: &str| Err(Unanswered(told.to_owned()));
    let text = match data {
        Data::Scalar((_, text)) => text,
        Data::Vector(series) => match series.len() {
            0 => return unanswered("the query gives no value: no series matches it now"),
            1 => match series.into_iter().next().and_then(|only| only.value) {
                Some((_, text)) => text,
                None => return unanswered("the query gives a histogram; it must give a number"),
            },
            many => {
                let told = format!("the query gives {many} series; it must give one, by `sum(…)` for example");
                return Err(Unanswered(told));
            }
        },
        // The kind of an answer is that of the query, whatever the data: it will never be another.
        Data::Matrix(_) => return Err(Query("the query gives a range of values; it must give one number".to_owned())),
        Data::String(_) => return Err(Query("the query gives a text; it must give one number".to_owned())),
    };
    match text.parse::<f64>() {
        Ok(value) if value.is_finite() => Ok(value),
        Ok(_) => Err(Unanswered(format!("the query gives {}, which is no number; a division by zero?", quote(&text)))),
        Err(_) => Err(Unanswered(format!("the query gives {:?}, which is no number", quote(&text)))),
    }
}

/// Bounded, and without what would disturb a terminal or a log.
fn quote(text: &str) -> String {
    text.chars().take(LONGEST_QUOTE).map(|c| if c.is_control() { ' ' } else { c }).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn of(data: &str) -> Result<f64, MetricsFault> {
        number(StatusCode::OK, format!(r#"{{"status":"success","data":{data}}}"#).as_bytes())
    }

    #[test]
    fn one_number_is_taken() {
        assert_eq!(of(r#"{"resultType":"scalar","result":[1700000000.25,"-1.5e3"]}"#), Ok(-1500.0));
        let vector = r#"{"resultType":"vector","result":[{"metric":{"a":"b"},"value":[1,"0"]}]}"#;
        assert_eq!(of(vector), Ok(0.0));
    }

    #[test]
    fn anything_but_one_number_is_told_apart() {
        let vector = |value: &str| format!(r#"{{"resultType":"vector","result":[{value}]}}"#);
        let point = |text: &str| format!(r#"{{"metric":{{}},"value":[1,"{text}"]}}"#);
        for (data, sentence) in [
            (vector(""), "no series"),
            (vector(&format!("{0},{0}", point("1"))), "2 series"),
            (vector(&point("NaN")), "gives NaN"),
            (vector(&point("+Inf")), "gives +Inf"),
            (vector(&point("-Inf")), "gives -Inf"),
            (vector(&point("1,5")), "no number"),
            (vector(r#"{"metric":{},"histogram":[1,{"count":"1"}]}"#), "histogram"),
            (r#"{"resultType":"matrix","result":[]}"#.to_owned(), "range"),
            (r#"{"resultType":"string","result":[1,"x"]}"#.to_owned(), "text"),
            (r#"{"resultType":"other","result":[]}"#.to_owned(), "not that of a Prometheus"),
            ("null".to_owned(), "not that of a Prometheus"),
        ] {
            let told = of(&data).unwrap_err().to_string();
            assert!(told.contains(sentence), "{data}: {told}");
        }
    }

    #[test]
    fn a_query_that_can_never_give_a_number_is_told_apart_from_one_that_gave_none() {
        let error = |status, kind: &str| {
            number(status, format!(r#"{{"status":"error","errorType":"{kind}","error":"x"}}"#).as_bytes())
        };
        assert!(matches!(error(StatusCode::BAD_REQUEST, "bad_data"), Err(Query(_))));
        for (status, kind) in [
            (StatusCode::UNPROCESSABLE_ENTITY, "execution"),
            (StatusCode::SERVICE_UNAVAILABLE, "timeout"),
            (StatusCode::BAD_REQUEST, "other"),
            (StatusCode::BAD_GATEWAY, "bad_data"),
        ] {
            assert!(matches!(error(status, kind), Err(Unanswered(_))), "{status} {kind}");
        }
        assert!(matches!(of(r#"{"resultType":"matrix","result":[]}"#), Err(Query(_))));
        assert!(matches!(of(r#"{"resultType":"vector","result":[]}"#), Err(Unanswered(_))));
    }

    #[test]
    fn an_answer_with_a_warning_is_none_and_one_with_an_info_is() {
        let answered = |more: &str| {
            let body = format!(r#"{{"status":"success","data":{{"resultType":"scalar","result":[1,"2"]}},{more}}}"#);
            number(StatusCode::OK, body.as_bytes())
        };
        let told = answered(r#""warnings":["store 2 is away"]"#).unwrap_err().to_string();
        assert!(told.contains("can't be relied on: store 2 is away"), "{told}");
        assert_eq!(answered(r#""infos":["metric might not be a counter"],"warnings":[]"#), Ok(2.0));
    }

    #[test]
    fn who_is_not_let_in_is_told_what_to_look_at() {
        for status in [StatusCode::UNAUTHORIZED, StatusCode::FORBIDDEN] {
            let told = number(status, b"no").unwrap_err().to_string();
            assert!(told.contains("`bearer_token_file`"), "{told}");
        }
    }

    #[test]
    fn a_text_of_the_server_is_bounded_and_clean() {
        let long = "\\u001b[31m".repeat(1000);
        let body = format!(r#"{{"status":"error","errorType":"execution","error":"{long}"}}"#);
        let told = number(StatusCode::UNPROCESSABLE_ENTITY, body.as_bytes()).unwrap_err().to_string();
        assert!(told.len() < 500 && !told.contains('\u{1b}'), "{told:?}");
    }

    /// What an answer of the documented form holds, read without types.
    fn reference(body: &str) -> Option<f64> {
        let answer: serde_json::Value = serde_json::from_str(body).ok()?;
        let point = match answer["data"]["resultType"].as_str()? {
            "scalar" => &answer["data"]["result"],
            "vector" if answer["data"]["result"].as_array()?.len() == 1 => &answer["data"]["result"][0]["value"],
            _ => return None,
        };
        let number = point[1].as_str()?.parse().ok().filter(|number: &f64| number.is_finite());
        number.filter(|_| answer["status"] == "success" && point.as_array().is_some_and(|it| it.len() == 2))
    }

    odd_input! {
        fn every_number_is_read_as_it_was_written(number in any::<f64>().prop_filter("no number", |it| it.is_finite()), at in any::<f64>()) {
            let at = if at.is_finite() { at } else { 0.0 };
            prop_assert_eq!(of(&format!(r#"{{"resultType":"scalar","result":[{at},"{number}"]}}"#)), Ok(number));
            let vector = format!(r#"{{"result":[{{"value":[{at},"{number:e}"],"metric":{{"a":"b"}}}}],"resultType":"vector"}}"#);
            prop_assert_eq!(of(&vector), Ok(number));
        }

        fn nothing_is_read_that_the_answer_does_not_say(
            status in 100..600_u16,
            pieces in prop::collection::vec(
                prop::sample::select(vec![
                    r#"{"status":"success","#, r#"{"status":"error","#, r#""data":{"resultType":"scalar","result":"#, "[1,\"2\"]", "[1,\"NaN\"]",
                    r#""data":{"resultType":"vector","result":["#, r#"{"value":[1,"2"]}"#, r#"{"metric":{},"value":[1,"3"]}"#, "]", "}", "}}", "]}}", ",",
                    r#""warnings":["x"]"#, r#""errorType":"bad_data""#, "null", "[1,2]", "[1]", "1", "\"", "\u{e9}",
                ]),
                0..9,
            ),
        ) {
            let body = pieces.concat();
            let status = StatusCode::from_u16(status).unwrap();
            match number(status, body.as_bytes()) {
                Ok(number) => prop_assert!(status.is_success() && reference(&body) == Some(number), "{body}"),
                Err(_) => prop_assert!(!status.is_success() || reference(&body).is_none() || body.contains("warnings"), "{body}"),
            }
        }
    }
}
