//! The record of a deploy.

use super::*;
use crate::model::{DeployEnd, DeployStep};
use crate::rollout::{DeployAct, DeployNews};

const BEGIN: DeployAct = DeployAct::Begin { force: false, take_over: false };

fn news_by(by: &str, release: &str, act: DeployAct) -> Event {
    let release = release.parse().unwrap();
    Event::Deploy(DeployNews { pool: pool("server1"), release, configured: None, by: by.to_owned(), act })
}

fn news(act: DeployAct) -> Event {
    news_by("me, run 1", "v2", act)
}

fn ended(story: &Story) -> Option<DeployEnd> {
    story.state.deploy.as_ref().unwrap().ended
}

#[test]
fn a_deploy_is_noted_step_by_step_and_the_same_twice_is_no_change() {
    let mut story = Story::new();
    for act in [
        BEGIN,
        DeployAct::Done(DeployStep::Ready),
        DeployAct::Done(DeployStep::Gate),
        DeployAct::Guard(Mode::Hold),
        DeployAct::Done(DeployStep::Migrated),
        DeployAct::Unguard,
    ] {
        assert_eq!(story.run(1, &news(act)), Some(DecisionName::Deploy), "{act:?}");
        assert_eq!((story.last().protective, story.last().evidence), (false, EvidenceChange::Keep));
        assert_eq!(story.run(2, &news(act)), None, "{act:?}");
    }
    let deploy = story.state.deploy.as_ref().unwrap();
    assert_eq!(deploy.done, [DeployStep::Ready, DeployStep::Gate, DeployStep::Migrated]);
    assert_eq!((deploy.started, deploy.guard.is_some(), deploy.ended), (at(1), false, None));
    assert_eq!(story.state.releases[&pool("server1")].release.as_str(), "v2", "it was found there");
    assert_eq!(story.state.migrated, ["v2".parse().unwrap()]);
}

#[test]
fn it_ends_with_its_rollout_whoever_ends_that() {
    let mut story = Story::new();
    story.run(0, &news(BEGIN));
    story.start(plan());
    story.run(2, &Event::Promote);
    assert_eq!(ended(&story), Some(DeployEnd::Promoted));
    story.run(3, &Event::Rollback);
    assert_eq!(ended(&story), Some(DeployEnd::RolledBack));
    assert!(matches!(story.refused(4, &news(BEGIN)), Refusal::Rejected { .. }));
    let force = DeployAct::Begin { force: true, take_over: false };
    assert_eq!(story.run(4, &news(force)), Some(DecisionName::Deploy));
    assert_eq!(ended(&story), None);
    story.run(5, &switch("server1", false));
    assert_eq!(ended(&story), Some(DeployEnd::Switched));
    assert_eq!(story.refused(6, &news(BEGIN)), Refusal::AlreadyLive(pool("server1")));
}

#[test]
fn a_switch_ends_it_once_its_mode_is_left() {
    let mut story = Story::new();
    let maintenance = ModeSetting::of(Mode::Maintenance);
    story.run(0, &Event::SetMode(ModeSetting::of(Mode::ReadOnly).into()));
    story.run(1, &news(BEGIN));
    story.run(2, &news(DeployAct::Guard(Mode::Maintenance)));
    story.run(3, &Event::SetMode(maintenance.into()));
    story.run(4, &news(DeployAct::Guard(Mode::Maintenance)));
    let guard = story.state.deploy.as_ref().unwrap().guard.clone().unwrap();
    assert_eq!((guard.mode, guard.before.mode), (Mode::Maintenance, Mode::ReadOnly), "as it was before the first time");
    story.run(5, &switch("server1", true));
    assert_eq!(ended(&story), None);
    story.run(6, &news(DeployAct::Unguard));
    assert_eq!(ended(&story), Some(DeployEnd::Switched));
    assert_eq!(story.state.mode, ModeSetting::of(Mode::ReadOnly), "it is left with that, if it was not before");
    assert!(matches!(story.refused(7, &news(DeployAct::Stop)), Refusal::DeployOver { .. }));
}

/// In maintenance by a deploy until second 10, and read-only before that.
fn guarded(before: ModeSetting) -> Story {
    let mut story = Story::new();
    story.run(0, &Event::SetMode(before.into()));
    story.run(1, &news(BEGIN));
    story.run(2, &news(DeployAct::Guard(Mode::Maintenance)));
    let mode = ModeSetting { until: Some(at(10)), ..ModeSetting::of(Mode::Maintenance) };
    story.run(3, &Event::SetMode(mode.into()));
    story
}

#[test]
fn the_mode_of_a_deploy_that_has_died_gives_way_to_what_somebody_had_asked_for() {
    let over = Event::PoolCanServe(None);
    let read_only = ModeSetting { anonymous: true, ..ModeSetting::of(Mode::ReadOnly) };
    let mut story = guarded(read_only.clone());
    assert_eq!(story.run(10, &over), Some(DecisionName::Mode));
    assert_eq!(story.state.mode, read_only);
    assert_eq!(story.run(11, &over), None, "it has no end");

    let mut story = guarded(ModeSetting { until: Some(at(8)), ..read_only.clone() });
    story.run(10, &over);
    assert_eq!(story.state.mode, ModeSetting::default(), "its time is over too");

    let mut story = guarded(read_only);
    story.run(4, &Event::SetMode(ModeSetting::default().into()));
    let later = ModeSetting { until: Some(at(20)), ..ModeSetting::of(Mode::Maintenance) };
    story.run(5, &Event::SetMode(later.into()));
    story.run(20, &over);
    assert_eq!(story.state.mode, ModeSetting::default(), "somebody has left it meanwhile, and what was before it");
}

#[test]
fn another_one_waits_or_takes_the_place_and_the_mode_of_the_first() {
    let mut story = Story::new();
    story.run(1, &news(BEGIN));
    story.run(2, &news(DeployAct::Guard(Mode::Hold)));
    assert!(matches!(story.refused(3, &news_by("you", "v3", BEGIN)), Refusal::OtherDeploy(_)));
    story.run(3, &news_by("me, run 2", "v2", BEGIN));
    assert_eq!(story.last().decision.reason, "the deploy of v2 to server1 by me, run 2 goes on");
    assert_eq!(story.state.deploy.as_ref().unwrap().started, at(1));
    assert!(matches!(story.refused(4, &news(DeployAct::Unguard)), Refusal::OtherDeploy(_)), "run 1 is over");
    assert!(matches!(story.refused(4, &news(DeployAct::Alive)), Refusal::OtherDeploy(_)), "whatever it says");
    assert_eq!(story.run(4, &news_by("me, run 2", "v2", DeployAct::Alive)), None, "nothing to note");
    story.run(5, &news_by("you", "v3", DeployAct::Begin { force: false, take_over: true }));
    let deploy = story.state.deploy.as_ref().unwrap();
    assert_eq!((deploy.by.as_str(), deploy.release.as_str(), deploy.guard.is_some()), ("you", "v3", true));
}

#[test]
fn no_deploy_begins_while_a_rollout_of_something_else_is_under_way() {
    let mut story = Story::in_canary();
    assert!(matches!(story.refused(2, &news_by("me", "v3", BEGIN)), Refusal::UnderWay { .. }));
    assert_eq!(story.run(2, &news(BEGIN)), Some(DecisionName::Deploy), "its own is joined");
}

#[test]
fn releases_whose_migration_has_run_are_remembered_to_a_bound() {
    let mut story = Story::new();
    for number in 0..100 {
        let release = format!("v{number}");
        story.run(number, &news_by("me", &release, BEGIN));
        story.run(number, &news_by("me", &release, DeployAct::Done(DeployStep::Migrated)));
        story.run(number, &news_by("me", &release, DeployAct::Stop));
    }
    assert_eq!(story.state.migrated.len(), 32);
    assert_eq!(story.state.migrated.last().unwrap().as_str(), "v99");
}
