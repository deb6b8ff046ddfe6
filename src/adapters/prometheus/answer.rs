//! What an answer of Prometheus says: one number, or why not.
//!
//! The format: <https://prometheus.io/docs/prometheus/latest/querying/api/>.

use http::StatusCode;
use serde::Deserialize;
use serde::de::IgnoredAny;

#[derive(Deserialize)]
#[serde(tag = "status", rename_all = "lowercase")]
enum Answer {
    Success {
        data: Data,
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

/// The longest text of another program that goes into a sentence.
const LONGEST_QUOTE: usize = 300;

/// The one number of an answer.
pub(super) fn number(status: StatusCode, body: &[u8]) -> Result<f64, String> {
    match serde_json::from_slice(body) {
        Ok(Answer::Error { kind, error }) => {
            Err(format!("Prometheus refuses the query ({}): {}", quote(&kind), quote(&error)))
        }
        Ok(Answer::Success { data }) if status.is_success() => one(data),
        _ if !status.is_success() => Err(format!("Prometheus answered HTTP {}", status.as_u16())),
        Ok(Answer::Success { .. }) | Err(_) => {
            Err("the answer is not that of a Prometheus server; is `url` in [prometheus] right?".to_owned())
        }
    }
}

fn one(data: Data) -> Result<f64, String> {
    let text = match data {
        Data::Scalar((_, text)) => text,
        Data::Vector(series) => match series.len() {
            0 => return Err("the query gives no value: no series matches it now".to_owned()),
            1 => match series.into_iter().next().and_then(|only| only.value) {
                Some((_, text)) => text,
                None => return Err("the query gives a histogram; it must give a number".to_owned()),
            },
            many => return Err(format!("the query gives {many} series; it must give one, by `sum(…)` for example")),
        },
        Data::Matrix(_) => return Err("the query gives a range of values; it must give one number".to_owned()),
        Data::String(_) => return Err("the query gives a text; it must give one number".to_owned()),
    };
    match text.parse::<f64>() {
        Ok(value) if value.is_finite() => Ok(value),
        Ok(_) => Err(format!("the query gives {}, which is no number; a division by zero?", quote(&text))),
        Err(_) => Err(format!("the query gives {:?}, which is no number", quote(&text))),
    }
}

/// Bounded, and without what would disturb a terminal or a log.
fn quote(text: &str) -> String {
    text.chars().take(LONGEST_QUOTE).map(|c| if c.is_control() { ' ' } else { c }).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(data: &str) -> Result<f64, String> {
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
            let told = of(&data).unwrap_err();
            assert!(told.contains(sentence), "{data}: {told}");
        }
    }

    #[test]
    fn a_text_of_the_server_is_bounded_and_clean() {
        let long = "\\u001b[31m".repeat(1000);
        let body = format!(r#"{{"status":"error","errorType":"execution","error":"{long}"}}"#);
        let told = number(StatusCode::UNPROCESSABLE_ENTITY, body.as_bytes()).unwrap_err();
        assert!(told.len() < 500 && !told.contains('\u{1b}'), "{told:?}");
    }
}
