//! Odd input for parsers: what must hold whatever comes.
//!
//! `FUZZ_SECONDS=60 cargo test --lib odd_input::` tries new cases of each property for a minute, and `tests/odd_input` each
//! kind of input; without a time, each property is tried with proptest's number of cases. What fails is made as small as
//! can be, and told with the seed that shows it.

use proptest::prelude::{Just, any, prop_oneof};
use proptest::strategy::Strategy;
use proptest::test_runner::{Config, RngSeed, TestCaseResult, TestRunner};
use serde_json::Value;
use std::time::{Duration, Instant};

/// How long each property is tried, in seconds.
const SECONDS: &str = "FUZZ_SECONDS";

/// Properties, written as for `proptest!`. They are put into a module `odd_input`, so that all of them are found by name.
macro_rules! odd_input {
    ($($(#[$attribute:meta])* fn $name:ident($($input:pat in $inputs:expr),+ $(,)?) $body:block)+) => {
        mod odd_input {
            use super::*;
            $(
                #[test]
                $(#[$attribute])*
                fn $name() {
                    $crate::odd_input::holds(&($($inputs,)+), |($($input,)+)| {
                        $body
                        Ok(())
                    });
                }
            )+
        }
    };
}

/// Tries a property with inputs until the time is over, or with as many as usual.
pub(crate) fn holds<S: Strategy>(inputs: &S, property: impl Fn(S::Value) -> TestCaseResult) {
    let until = std::env::var(SECONDS).ok().map(|text| {
        let period = text.parse().ok().and_then(|seconds| Duration::try_from_secs_f64(seconds).ok());
        Instant::now() + period.unwrap_or_else(|| panic!("{SECONDS} is a number of seconds, not {text:?}"))
    });
    loop {
        // What fails is to become a test of its own, with a name, rather than a line in a file of seeds.
        let config = Config { failure_persistence: None, ..Config::default() };
        let (seed, is_given) = match config.rng_seed {
            RngSeed::Fixed(seed) => (seed, true),
            RngSeed::Random => (rand::random(), false),
        };
        let mut runner = TestRunner::new(Config { rng_seed: RngSeed::Fixed(seed), ..config });
        if let Err(fault) = runner.run(inputs, &property) {
            panic!("{fault}\nPROPTEST_RNG_SEED={seed} shows it again");
        }
        // A given seed would only say the same again.
        if is_given || until.is_none_or(|until| Instant::now() >= until) {
            return;
        }
    }
}

/// A value that no program of ours has written where it stands: of another kind, far too large, or of odd text.
pub(crate) fn odd_value() -> impl Strategy<Value = Value> {
    let moments = ["-009999-01-02T01:59:59Z", "9999-12-30T22:00:00.999999999Z", "1970-01-01T00:00:00Z"];
    let numbers = prop_oneof![
        any::<i64>().prop_map(Value::from),
        any::<u64>().prop_map(Value::from),
        any::<f64>().prop_map(Value::from),
        (0..200_u8).prop_map(Value::from),
    ];
    prop_oneof![
        4 => numbers,
        3 => ".{0,6}|\u{1b}\\[2J|\u{202e}|\n|server[01]|[0-9]{1,9}(ms|s|m|h)|87600h".prop_map(Value::from),
        1 => proptest::sample::select(moments.to_vec()).prop_map(Value::from),
        2 => proptest::sample::select(vec![Value::Null, true.into(), false.into(), Value::Array(Vec::new())]),
        1 => Just(serde_json::json!({})),
    ]
}

/// Puts a value in the place of another one: of the one at `at`, as they stand, and beginning anew behind the last.
pub(crate) fn misplace(document: &mut Value, at: usize, value: Value) {
    let mut places = Vec::new();
    collect(document, String::new(), &mut places);
    if let Some(place) = places.get(at % places.len().max(1)).and_then(|place| document.pointer_mut(place)) {
        *place = value;
    }
}

/// The pointers to all that is in a document.
fn collect(document: &Value, here: String, places: &mut Vec<String>) {
    match document {
        Value::Array(items) => {
            for (index, item) in items.iter().enumerate() {
                collect(item, format!("{here}/{index}"), places);
            }
        }
        Value::Object(fields) => {
            for (name, field) in fields {
                collect(field, format!("{here}/{}", name.replace('~', "~0").replace('/', "~1")), places);
            }
        }
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
    }
    places.push(here);
}

#[test]
#[should_panic(expected = "minimal failing input: (\n    10,\n)\nPROPTEST_RNG_SEED=")]
fn what_does_not_hold_is_told_with_the_smallest_input_and_its_seed() {
    holds(&(0..1000_u32,), |(number,)| {
        proptest::prop_assert!(number < 10);
        Ok(())
    });
}
