//! The rules of others, each on cases made by hand.

#![allow(unreachable_pub, missing_docs, dead_code, reason = "of the bench's modules only the rules are tested here")]

mod rules;

use rules::{Counts, Rule, fisher, is_high, peeked, z_test};

fn minute(candidate: u64, candidate_failed: u64, live: u64, live_failed: u64) -> Counts {
    Counts { candidate, candidate_failed, live, live_failed, ..Counts::default() }
}

const GOOD: Counts =
    Counts { candidate: 100, candidate_failed: 0, live: 1900, live_failed: 2, candidate_time: None, live_time: None };

fn assert_near(got: f64, expected: f64) {
    assert!((got - expected).abs() < 1e-4, "{got} is not {expected}");
}

#[test]
fn flagger_rolls_back_at_the_fifth_failed_check_however_many_were_good_in_between() {
    let bad = minute(100, 2, 1900, 2);
    let mut minutes = vec![GOOD; 20];
    for place in [1, 4, 6, 9] {
        minutes[place] = bad;
    }
    assert_eq!(Rule::Flagger.rolls_back(&minutes), None, "four are below the threshold");
    minutes[15] = bad;
    assert_eq!(Rule::Flagger.rolls_back(&minutes), Some(16));
}

#[test]
fn flagger_counts_a_minute_without_traffic_as_a_failed_check_and_99_percent_as_a_good_one() {
    assert_eq!(Rule::Flagger.rolls_back(&[minute(0, 0, 1900, 2); 5]), Some(5));
    assert_eq!(Rule::Flagger.rolls_back(&[minute(100, 1, 1900, 2); 60]), None);
}

#[test]
fn argo_fails_with_more_failed_measurements_than_its_limit() {
    let minutes = [minute(100, 3, 1900, 2); 10];
    assert_eq!(Rule::Argo99.rolls_back(&minutes), Some(4));
    assert_eq!(Rule::Argo95.rolls_back(&minutes), None);
    assert_eq!(Rule::Argo95.rolls_back(&[minute(100, 6, 1900, 2); 10]), Some(4));
}

#[test]
fn argo_compares_with_the_stable_pool_where_there_is_something_to_compare() {
    assert_eq!(Rule::ArgoCompared.rolls_back(&[minute(100, 2, 100, 1); 10]), Some(4));
    assert_eq!(Rule::ArgoCompared.rolls_back(&[minute(100, 3, 100, 2); 10]), None);
    assert_eq!(Rule::ArgoCompared.rolls_back(&[minute(100, 0, 100, 0); 10]), None);
    assert_eq!(Rule::ArgoCompared.rolls_back(&[minute(0, 0, 100, 1); 10]), None);
    assert_eq!(Rule::ArgoCompared.rolls_back(&[minute(100, 1, 100, 0); 10]), Some(4));
}

#[test]
fn kayenta_judges_at_its_intervals_and_only_what_is_clearly_higher() {
    let minutes: Vec<Counts> = (0..60).map(|at| minute(1000, 30 + at % 7, 1000, 10 + at % 5)).collect();
    assert_eq!(Rule::Kayenta30.rolls_back(&minutes), Some(30));
    assert_eq!(Rule::Kayenta5.rolls_back(&minutes), Some(5));
    let alike: Vec<Counts> = (0..60).map(|at| minute(1000, 10 + at % 7, 1000, 10 + (at + 3) % 7)).collect();
    assert_eq!(Rule::Kayenta5.rolls_back(&alike), None);
    assert_eq!(Rule::Kayenta5.rolls_back(&[minute(1000, 0, 1000, 0); 60]), None, "all are tied");
    assert_eq!(Rule::Kayenta5.rolls_back(&[minute(0, 0, 1000, 0); 60]), None, "there is nothing to judge");
}

#[test]
fn kayenta_tolerates_a_quarter_of_the_estimated_shift() {
    let control: Vec<f64> = (0..20).map(|at| f64::from(at) / 10.0).collect();
    let shifted = |by: f64| control.iter().map(|value| value + by).collect::<Vec<_>>();
    assert!(is_high(&shifted(1.5), &control));
    assert!(!is_high(&shifted(0.3), &control) && !is_high(&control, &shifted(1.5)) && !is_high(&[], &control));
}

#[test]
fn kayenta_looks_at_times_as_well() {
    let minutes: Vec<Counts> = (0..30)
        .map(|at: u32| Counts {
            candidate_time: Some(0.08 + f64::from(at) * 1e-4),
            live_time: Some(0.05 + f64::from(at) * 1e-4),
            ..GOOD
        })
        .collect();
    assert_eq!(Rule::Kayenta5.rolls_back(&minutes), Some(5));
}

#[test]
fn p_values_are_those_of_the_textbook() {
    // R: prop.test(c(15, 5), c(100, 100), alternative = "greater", correct = FALSE)
    assert_near(z_test(&minute(100, 15, 100, 5)), 0.00921);
    // R: fisher.test(matrix(c(3, 1, 1, 3), 2), alternative = "greater")
    assert_near(fisher(&minute(4, 3, 4, 1)), 0.24286);
    assert_near(fisher(&minute(4, 1, 4, 3)), 1.0);
    assert_near(z_test(&minute(0, 0, 10, 1)), 1.0);
}

#[test]
fn peeked_tests_look_at_all_counts_so_far() {
    let minutes = [minute(20, 3, 20, 1); 10];
    assert!(z_test(&minutes[0]) > 0.01);
    assert_eq!(peeked(&minutes, z_test), Some(5));
    assert!(Rule::Fisher.rolls_back(&minutes) > Rule::ZTest.rolls_back(&minutes));
}
