//! Odd input for parsers: what must hold whatever comes.
//!
//! `FUZZ_SECONDS=60 cargo test --lib odd_input::` tries new cases of each property for a minute; without it, each is
//! tried with proptest's number of cases. What fails is made as small as can be, and told with the seed that shows it.

use proptest::strategy::Strategy;
use proptest::test_runner::{Config, RngSeed, TestCaseResult, TestRunner};
use std::time::{Duration, Instant};

/// How long each property is tried; the variable holds whole seconds.
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
        let seconds = text.parse().unwrap_or_else(|_| panic!("{SECONDS} is a whole number of seconds, not {text:?}"));
        Instant::now() + Duration::from_secs(seconds)
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
