use super::*;
use clap::CommandFactory;

fn parse(line: &str) -> Result<Cli, clap::Error> {
    Cli::try_parse_from(std::iter::once("cutover").chain(line.split_whitespace()))
}

#[test]
fn the_command_line_is_sound() {
    Cli::command().debug_assert();
}

#[test]
fn global_options_stand_before_and_after_the_command() {
    for line in ["--admin unix:/a --service s --json status", "status --json --service s --admin unix:/a"] {
        let cli = parse(line).unwrap();
        assert_eq!((cli.global.admin.as_str(), cli.global.json), ("unix:/a", true), "{line}");
        assert_eq!(cli.global.service.unwrap().as_str(), "s");
    }
    assert!(parse("rollout pause --json --service s").unwrap().global.json);
}

#[test]
fn every_command_of_the_design_is_understood() {
    for line in [
        "run",
        "run --config f.toml",
        "run --listen 127.0.0.1:1 --pool a=b:1 --pool c=d:1 --state s.db",
        "check",
        "check --config f.toml",
        "demo --fault errors --keep",
        "demo --fault crash",
        "demo --fault latency",
        "demo --fault none",
        "simulate",
        "simulate --live-error 0.001 --candidate-error 1% --rps 50 --plan f.toml --service s --json --svg c.svg",
        "simulate --requests-per-visitor 20 --activity-spread 1.5 --unlucky 1% --weather bursts --fault-after 5m",
        "simulate --visitors 1000 --live-latency 40ms --candidate-latency 60ms --runs 500 --seed 7",
        "status --watch --json",
        "switch server1 --drain 30s",
        "deploy server1 --release 2026.11.2",
        "deploy spare --release 2 --canary --gate-command true --timeout 5m --prepare true --by me --json",
        "deploy server1 --release 2 --switch --hold --migrate true --drain 10s --lease 1m --message x --dry-run",
        "deploy server1 --release 2 --blue-green --read-only --migrate true --migrate-again --force --take-over",
        "rollout start server1 --release 2026.11.2 --steps 1,5,25,50 --hold 60s --force --wait",
        "rollout status",
        "rollout pause",
        "rollout resume",
        "rollout start server1 --strategy blue-green",
        "rollout approve",
        "rollout promote",
        "rollout rollback",
        "rollout weight 12.5",
        "mode serve",
        "mode maintenance --retry-after 10m --until 2030-01-01T00:00:00Z --message soon",
        "history --json",
        "history -n 5",
        "history --id 7 --json",
        "history --replay",
        "history --replay 7",
        "history --replay --limit 20 --json",
        "explain --host h --path /p --method POST --header A:b --header C:d --client-ip 192.0.2.1",
        "backup copy.db",
        "preview-link server1",
        "preview-link server1 --ttl 1h --path /x?y=z --host shop.example.com --json",
    ] {
        assert!(parse(line).is_ok(), "{line}: {}", parse(line).unwrap_err());
    }
}

#[test]
fn what_makes_no_sense_is_refused() {
    for line in [
        "",
        "dance",
        "run --config f.toml --pool a=b:1",
        "run --config f.toml --listen 127.0.0.1:1",
        "run --state s.db",
        "switch",
        "switch a/b",
        "switch server1 --drain 30",
        "deploy server1",
        "deploy server1 --release 2 --canary --switch",
        "deploy server1 --release 2 --hold --read-only --switch",
        "deploy server1 --release 2 --lease 1m",
        "deploy server1 --release 2 --migrate-again",
        "deploy server1 --release 2 --switch --hold --lease 1s",
        "rollout start server1 --hold 60s",
        "rollout start server1 --steps 1,x",
        "rollout weight 101",
        "rollout weight 0.001",
        "mode serve --message x",
        "mode maintenance --until soon",
        "mode hold --anonymous",
        "explain --host h",
        "explain --host h --path / --header novalue",
        "preview-link",
        "preview-link server1 --ttl 1",
        "history --limit 0",
        "history --id x",
        "history --replay x",
        "history --id 7 --replay",
        "demo --fault slowness",
        "status --service a/b",
        "simulate --live-error 2",
        "simulate --candidate-error 101%",
        "simulate --rps 0",
        "simulate --runs 0",
        "simulate --visitors 5 --requests-per-visitor 5",
        "simulate --live-latency 0s",
    ] {
        let error = parse(line).map(|cli| format!("{cli:?}")).unwrap_err();
        assert_eq!(error.exit_code(), 2, "{line}");
    }
}

#[test]
fn steps_are_percentages_with_a_hold_of_a_minute() {
    let Command::Remote(Remote::Rollout(RolloutCommand::Start(start))) =
        parse("rollout start a --steps 1,12.5%").unwrap().command
    else {
        panic!("not a start");
    };
    assert_eq!(start.steps.iter().map(|step| step.get()).collect::<Vec<_>>(), [100, 1250]);
    assert_eq!(start.hold, Period::from_secs(60));
}
