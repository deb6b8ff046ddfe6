use super::*;
use crate::model::{BasisPoints, Phase, Timestamp};
use crate::odd_input::{misplace, odd_value};
use crate::rollout::ServiceState;
use proptest::prelude::*;
use std::fs;

fn shop() -> ServiceName {
    "shop".parse().unwrap()
}

fn state(revision: u64) -> ServiceState {
    ServiceState { revision, ..ServiceState::new("server0".parse().unwrap()) }
}

fn entry(revision: u64) -> HistoryView {
    HistoryView {
        id: 0,
        at: Timestamp::from_second(1_700_000_000).unwrap(),
        revision,
        decision: "start".to_owned(),
        by: "operator".to_owned(),
        reason: "asked for".to_owned(),
        phase: Phase::Canary,
        live: "server0".parse().unwrap(),
        candidate: Some("server1".parse().unwrap()),
        weight: BasisPoints::from_percent(12.5).unwrap(),
        evidence: Some(crate::model::view::EvidenceView::default()),
        record: None,
    }
}

fn record(expected: Option<u64>, revision: u64) -> Record {
    Record {
        service: shop(),
        expected,
        state: state(revision),
        evidence: Some(format!("evidence {revision}")),
        history: vec![entry(revision)],
    }
}

fn folder() -> tempfile::TempDir {
    tempfile::tempdir().unwrap()
}

#[test]
fn what_was_committed_is_there_after_it_is_opened_again() {
    let folder = folder();
    let path = folder.path().join("cutover.db");
    let mut store = SqliteStore::open(&path).unwrap();
    assert!(store.load().unwrap().is_empty());
    store.commit(&record(Some(0), 1)).unwrap();
    store.commit(&record(Some(1), 2)).unwrap();
    drop(store);
    let mut store = SqliteStore::open(&path).unwrap();
    let stored = StoredService { name: shop(), state: state(2), evidence: Some("evidence 2".to_owned()) };
    assert_eq!(store.load().unwrap(), [stored]);
    let history = store.history(&shop(), HistoryQuestion::newest(10)).unwrap();
    assert_eq!(history, [HistoryView { id: 1, ..entry(1) }, HistoryView { id: 2, ..entry(2) }]);
    assert_eq!(store.history(&shop(), HistoryQuestion::newest(1)).unwrap()[0].id, 2);
    assert!(store.history(&"other".parse().unwrap(), HistoryQuestion::newest(10)).unwrap().is_empty());
}

#[test]
fn a_copy_of_the_files_taken_at_any_moment_after_a_commit_holds_it() {
    let folder = folder();
    let path = folder.path().join("cutover.db");
    let mut store = SqliteStore::open(&path).unwrap();
    store.commit(&record(Some(0), 1)).unwrap();
    // As kill -9 leaves them: the database and its log, with nothing closed.
    let killed = folder.path().join("killed.db");
    for suffix in ["", "-wal"] {
        fs::copy(format!("{}{suffix}", path.display()), format!("{}{suffix}", killed.display())).unwrap();
    }
    assert_eq!(SqliteStore::open(&killed).unwrap().load().unwrap()[0].state.revision, 1);
}

#[test]
fn a_revision_that_moved_is_refused_and_nothing_is_written() {
    let folder = folder();
    let mut store = SqliteStore::open(&folder.path().join("cutover.db")).unwrap();
    store.commit(&record(Some(0), 1)).unwrap();
    for expected in [0, 2] {
        let refused = store.commit(&record(Some(expected), 3));
        assert_eq!(refused, Err(StoreError::Moved(shop(), expected)));
    }
    assert_eq!(store.load().unwrap()[0].state.revision, 1);
    assert_eq!(store.history(&shop(), HistoryQuestion::newest(10)).unwrap().len(), 1);
    store.commit(&record(None, 7)).unwrap();
    assert_eq!(store.load().unwrap()[0].state.revision, 7);
}

#[test]
fn a_second_opener_is_refused_until_the_first_has_gone() {
    let folder = folder();
    let path = folder.path().join("cutover.db");
    let first = SqliteStore::open(&path).unwrap();
    let link = folder.path().join("link.db");
    std::os::unix::fs::symlink(&path, &link).unwrap();
    for path in [&path, &link] {
        let refused = SqliteStore::open(path).unwrap_err();
        assert!(matches!(refused, OpenError::InUse { .. }));
        assert!(refused.to_string().contains("cutover.db.lock"), "{refused}");
    }
    // Other programs may read all the while.
    let reader = Connection::open_with_flags(&path, rusqlite::OpenFlags::SQLITE_OPEN_READ_ONLY).unwrap();
    assert_eq!(reader.query_row("select count(*) from service", [], |row| row.get::<_, i64>(0)), Ok(0));
    drop(first);
    assert!(SqliteStore::open(&path).is_ok());
}

#[test]
fn what_can_not_be_opened_is_told_apart() {
    let folder = folder();
    let at = |name: &str| folder.path().join(name);
    assert!(matches!(SqliteStore::open(&at("missing/cutover.db")), Err(OpenError::NoFolder(_))));
    assert!(matches!(SqliteStore::open(folder.path()), Err(OpenError::NotAFile(_))));
    fs::write(at("text.db"), "not a database at all, but long enough to be looked at\n".repeat(100)).unwrap();
    assert!(matches!(SqliteStore::open(&at("text.db")), Err(OpenError::NotADatabase(_))));
    Connection::open(at("foreign.db")).unwrap().execute_batch("create table theirs (id integer)").unwrap();
    assert!(matches!(SqliteStore::open(&at("foreign.db")), Err(OpenError::Foreign(_))));
    fs::write(at("empty.db"), "").unwrap();
    assert!(SqliteStore::open(&at("empty.db")).is_ok());
}

#[test]
fn a_newer_schema_is_refused_by_name() {
    let folder = folder();
    let path = folder.path().join("cutover.db");
    drop(SqliteStore::open(&path).unwrap());
    Connection::open(&path).unwrap().pragma_update(None, "user_version", 3).unwrap();
    let refused = SqliteStore::open(&path).unwrap_err().to_string();
    assert!(refused.contains("newer version of cutover (schema 3, this one knows 2)"), "{refused}");
}

#[test]
fn a_damaged_file_is_refused() {
    let folder = folder();
    let path = folder.path().join("cutover.db");
    let mut store = SqliteStore::open(&path).unwrap();
    for revision in 1..50 {
        store.commit(&record(None, revision)).unwrap();
    }
    drop(store);
    let mut bytes = fs::read(&path).unwrap();
    bytes[4096..].fill(0x5a);
    fs::write(&path, bytes).unwrap();
    let refused = SqliteStore::open(&path).unwrap_err();
    assert!(matches!(refused, OpenError::Damaged { .. }), "{refused:?}");
}

#[test]
fn a_stored_value_that_makes_no_sense_is_corrupt_and_the_store_goes_on() {
    let folder = folder();
    let path = folder.path().join("cutover.db");
    let mut store = SqliteStore::open(&path).unwrap();
    store.commit(&record(Some(0), 1)).unwrap();
    Connection::open(&path).unwrap().execute("update service set state = '{}'", []).unwrap();
    assert!(matches!(store.load(), Err(StoreError::Corrupt(sentence)) if sentence.contains("service shop")));
    store.commit(&record(Some(1), 2)).unwrap();
    assert_eq!(store.load().unwrap().len(), 1);
}

#[test]
fn after_a_full_disk_the_next_call_works_again() {
    let folder = folder();
    let mut store = SqliteStore::open(&folder.path().join("cutover.db")).unwrap();
    store.commit(&record(Some(0), 1)).unwrap();
    let connection = store.connection.as_ref().unwrap();
    let pages: i64 = connection.query_row("pragma page_count", [], |row| row.get(0)).unwrap();
    connection.query_row(&format!("pragma max_page_count = {pages}"), [], |_| Ok(())).unwrap();
    let big = Record { evidence: Some("x".repeat(1 << 20)), ..record(Some(1), 2) };
    let refused = store.commit(&big).unwrap_err().to_string();
    assert!(refused.contains("the disk is full"), "{refused}");
    store.commit(&big).unwrap();
    assert_eq!(store.load().unwrap()[0].state.revision, 2);
}

#[test]
fn after_a_read_only_while_the_next_call_works_again() {
    let folder = folder();
    let mut store = SqliteStore::open(&folder.path().join("cutover.db")).unwrap();
    store.connection.as_ref().unwrap().pragma_update(None, "query_only", true).unwrap();
    let refused = store.commit(&record(Some(0), 1)).unwrap_err().to_string();
    assert!(refused.contains("read-only"), "{refused}");
    store.commit(&record(Some(0), 1)).unwrap();
}

#[test]
fn a_file_that_was_taken_away_is_not_written_to() {
    let folder = folder();
    let path = folder.path().join("cutover.db");
    let away = folder.path().join("away.db");
    let mut store = SqliteStore::open(&path).unwrap();
    fs::rename(&path, &away).unwrap();
    for _ in 0..2 {
        let refused = store.commit(&record(Some(0), 1)).unwrap_err().to_string();
        assert!(refused.contains("removed or replaced"), "{refused}");
    }
}

#[test]
fn the_history_keeps_the_newest_entries() {
    let folder = folder();
    let mut store = SqliteStore::open(&folder.path().join("cutover.db")).unwrap();
    let many = usize::try_from(HISTORY_KEPT).unwrap() + 5;
    store.commit(&Record { history: vec![entry(1); many], ..record(Some(0), 1) }).unwrap();
    let other = Record { service: "other".parse().unwrap(), ..record(Some(0), 1) };
    store.commit(&other).unwrap();
    store.commit(&Record { history: Vec::new(), ..record(Some(1), 2) }).unwrap();
    let history = store.history(&shop(), HistoryQuestion::newest(usize::MAX)).unwrap();
    assert_eq!((history.len(), history[0].id), (many - 5, 6));
    assert_eq!(store.history(&other.service, HistoryQuestion::newest(10)).unwrap().len(), 1);
}

#[test]
fn a_backup_is_a_whole_state_and_never_overwrites() {
    let folder = folder();
    let mut store = SqliteStore::open(&folder.path().join("cutover.db")).unwrap();
    store.commit(&record(Some(0), 1)).unwrap();
    let copy = folder.path().join("copy.db");
    store.backup(&copy).unwrap();
    assert!(store.backup(&copy).unwrap_err().to_string().contains("there already"));
    assert!(store.backup(&folder.path().join("missing/copy.db")).is_err());
    let mut copied = SqliteStore::open(&copy).unwrap();
    assert_eq!(copied.load().unwrap(), store.load().unwrap());
    assert_eq!(
        copied.history(&shop(), HistoryQuestion::newest(10)).unwrap(),
        store.history(&shop(), HistoryQuestion::newest(10)).unwrap()
    );
    assert!(!folder.path().join(".copy.db.part").exists());
    store.commit(&record(Some(1), 2)).unwrap();
}

/// A decision with a record, whose floats have every kind of bits.
fn recorded() -> HistoryView {
    let record = serde_json::json!({ "e": [0.1 + 0.2, f64::MIN_POSITIVE, 1.0 / 3.0, 5e-324, 1e300, -0.0, u64::MAX] });
    HistoryView { record: Some(record), ..entry(1) }
}

#[test]
fn a_record_comes_back_bit_by_bit_and_only_where_it_is_asked_for() {
    let folder = folder();
    let path = folder.path().join("cutover.db");
    let mut store = SqliteStore::open(&path).unwrap();
    store.commit(&Record { history: vec![recorded(), entry(1)], ..record(Some(0), 1) }).unwrap();
    drop(store);
    let mut store = SqliteStore::open(&path).unwrap();
    assert!(store.history(&shop(), HistoryQuestion::newest(10)).unwrap().iter().all(|entry| entry.record.is_none()));
    let all = store.history(&shop(), HistoryQuestion { record: true, ..HistoryQuestion::newest(10) }).unwrap();
    assert_eq!((all[0].id, all[1].id, &all[1].record), (1, 2, &None));
    let (before, after) = (recorded().record.unwrap(), all[0].record.clone().unwrap());
    for (before, after) in before["e"].as_array().unwrap().iter().zip(after["e"].as_array().unwrap()) {
        assert_eq!(before.as_f64().unwrap().to_bits(), after.as_f64().unwrap().to_bits());
    }
    let one = store.history(&shop(), HistoryQuestion { id: Some(2), limit: 10, record: true }).unwrap();
    assert_eq!(one.iter().map(|entry| entry.id).collect::<Vec<_>>(), [2]);
    let none = store.history(&shop(), HistoryQuestion { id: Some(u64::MAX), limit: 10, record: true }).unwrap();
    assert!(none.is_empty());
}

#[test]
fn the_newest_records_are_kept_and_none_that_is_too_large() {
    let folder = folder();
    let mut store = SqliteStore::open(&folder.path().join("cutover.db")).unwrap();
    let kept = usize::try_from(RECORDS_KEPT).unwrap();
    store.commit(&Record { history: vec![recorded(); kept + 3], ..record(Some(0), 1) }).unwrap();
    let huge = HistoryView { record: Some("x".repeat(1 << 20).into()), ..entry(2) };
    store.commit(&Record { history: vec![huge], ..record(Some(1), 2) }).unwrap();
    let all = HistoryQuestion { record: true, ..HistoryQuestion::newest(usize::MAX) };
    let history = store.history(&shop(), all).unwrap();
    let with_record: Vec<_> = history.iter().filter(|entry| entry.record.is_some()).map(|entry| entry.id).collect();
    assert_eq!((history.len(), with_record.len()), (kept + 4, kept - 1));
    assert_eq!((with_record[0], *with_record.last().unwrap()), (5, 1003));
}

/// As the first version made and filled it.
fn of_the_first_version(path: &Path) {
    let connection = Connection::open(path).unwrap();
    connection.execute_batch(upgrade::FIRST).unwrap();
    connection.pragma_update(None, "application_id", upgrade::APPLICATION).unwrap();
    connection.pragma_update(None, "user_version", 1).unwrap();
    let state = r#"{"revision":3,"live":"server0","candidate":"server1","weight":500,"phase":"canary","held":null,
        "watch_until":null,"rollout":{"release":"v2","pool":"server1","previous_live":"server0","plan":{
        "steps":[{"weight":500,"hold":"1m"}],"false_alarm":0.01,"miss":0.05,"min_requests":300,"max_hold":null,
        "on_inconclusive":"hold","watch":"10m","checks":[{"kind":"error-ratio","tolerate":0.001},{"kind":"promql",
        "name":"failed jobs","query":"sum(jobs)","max":0.5,"min":null,"every":"15s","failures":3}]},"step":0,
        "step_since":"2026-11-22T04:00:00Z","waiting_since":"2026-11-22T04:00:00Z","started":"2026-11-22T03:59:00Z",
        "weight_by_command":false},"releases":{},"rejected":[],"drained":[],"mode":{"mode":"serve"}}"#;
    let evidence = r#"{"verdict":"insufficient","reason":"too few","checks":[{"name":"failed jobs","kind":"promql",
        "verdict":"healthy","guaranteed":false,"query":"sum(jobs)","value":0.25,"detail":"fine"}]}"#;
    connection.execute("insert into service values ('shop', 3, ?1, 'its evidence')", [state]).unwrap();
    connection
        .execute(
            "insert into history values (7, 'shop', '2026-11-22T04:00:00Z', 3, 'step', 'time', 'why', 'canary',
             'server0', 'server1', 500, ?1), (8, 'shop', '2026-11-22T04:00:01Z', 4, 'mode', 'operator', 'asked for',
             'canary', 'server0', 'server1', 500, null)",
            [evidence],
        )
        .unwrap();
}

#[test]
fn a_state_of_the_first_version_is_taken_up_without_loss() {
    let folder = folder();
    let path = folder.path().join("cutover.db");
    of_the_first_version(&path);
    let mut store = SqliteStore::open(&path).unwrap();
    let stored = store.load().unwrap().remove(0);
    assert_eq!((stored.name, stored.evidence.as_deref()), (shop(), Some("its evidence")));
    let checks = stored.state.rollout.unwrap().plan.checks;
    let crate::model::Check::PromQl(check) = &checks[1] else { panic!("{checks:?}") };
    assert_eq!(check.name, "failed jobs");
    let bounds = crate::model::PromQlQuestion::Bounds { query: "sum(jobs)".to_owned(), max: Some(0.5), min: None };
    assert_eq!(check.ask, bounds);
    let all = HistoryQuestion { record: true, ..HistoryQuestion::newest(10) };
    let history = store.history(&shop(), all).unwrap();
    assert_eq!(history.iter().map(|entry| entry.id).collect::<Vec<_>>(), [7, 8]);
    let check = &history[0].evidence.as_ref().unwrap().checks[0];
    assert_eq!((check.asked, check.queries[0].query.as_str(), check.queries[0].value), (true, "sum(jobs)", Some(0.25)));
    assert!(history.iter().all(|entry| entry.record.is_none()), "and says that it has no records");
    let next = Record { history: vec![recorded()], state: state(4), ..record(Some(3), 4) };
    store.commit(&next).unwrap();
    drop(store);
    let mut store = SqliteStore::open(&path).unwrap();
    assert!(store.history(&shop(), all).unwrap()[2].record.is_some(), "and has them from now on");
}

#[test]
fn nobody_else_may_read_a_state_or_a_backup_since_gates_have_secrets() {
    use std::os::unix::fs::PermissionsExt;
    let folder = folder();
    let [new, old, copy] = ["new.db", "old.db", "copy.db"].map(|name| folder.path().join(name));
    of_the_first_version(&old);
    fs::set_permissions(&old, fs::Permissions::from_mode(0o644)).unwrap();
    drop(SqliteStore::open(&old).unwrap());
    let mut store = SqliteStore::open(&new).unwrap();
    store.commit(&record(Some(0), 1)).unwrap();
    store.backup(&copy).unwrap();
    for file in [&new, &old, &copy, &folder.path().join("new.db-wal")] {
        assert_eq!(fs::metadata(file).unwrap().permissions().mode() & 0o777, 0o600, "{}", file.display());
    }
}

/// What is read of a row that holds these values.
fn read_of<T>(columns: &[(&str, rusqlite::types::Value)], read: impl Fn(&rusqlite::Row<'_>) -> T) -> T {
    let connection = Connection::open_in_memory().unwrap();
    let names = columns.iter().map(|(name, _)| format!("? as \"{name}\"")).collect::<Vec<_>>().join(", ");
    let mut statement = connection.prepare(&format!("select {names}")).unwrap();
    let mut rows = statement.query(rusqlite::params_from_iter(columns.iter().map(|(_, value)| value))).unwrap();
    read(rows.next().unwrap().unwrap())
}

/// A value of a damaged file.
fn damaged() -> impl Strategy<Value = rusqlite::types::Value> {
    prop_oneof![
        any::<i64>().prop_map(rusqlite::types::Value::from),
        any::<f64>().prop_filter("SQLite has no such number", |it| !it.is_nan()).prop_map(rusqlite::types::Value::from),
        prop::collection::vec(any::<u8>(), 0..8).prop_map(rusqlite::types::Value::from),
        ".{0,8}|canary|server0|\\{\\}|null|[0-9]{1,6}".prop_map(rusqlite::types::Value::from),
        Just(rusqlite::types::Value::Null),
    ]
}

odd_input! {
    fn a_damaged_row_is_told_and_nothing_else_is_read_for_it(at in 0..12_usize, value in damaged()) {
        let written = entry(7);
        let text = |value: &str| rusqlite::types::Value::from(value.to_owned());
        let mut columns = [
            ("id", 0.into()), ("at", text(&written.at.to_string())), ("revision", 7.into()), ("decision", text("start")),
            ("by", text("operator")), ("reason", text("asked for")), ("phase", text("canary")), ("live", text("server0")),
            ("candidate", text("server1")), ("weight", 1250.into()),
            ("evidence", text(&rows::text(&written.evidence).unwrap_or_default())), ("record", rusqlite::types::Value::Null),
        ];
        let read = |columns: &[_]| read_of(columns, |row| rows::entry(&shop(), row));
        prop_assert_eq!(read(&columns).unwrap(), written.clone());
        columns[at].1 = value;
        match read(&columns) {
            Ok(read) => {
                let name = columns[at].0;
                let (mut read, mut written) = (serde_json::to_value(read).unwrap(), serde_json::to_value(&written).unwrap());
                for document in [&mut read, &mut written] {
                    document.as_object_mut().unwrap().remove(name);
                }
                prop_assert_eq!(read, written, "only {} is another one", name);
            }
            Err(Failure::Told(StoreError::Corrupt(told))) => prop_assert!(told.contains("can't be understood")),
            Err(other) => prop_assert!(false, "{}", other),
        }
    }

    fn a_state_with_an_odd_value_is_told_or_is_what_is_written_again(odd in prop::collection::vec((any::<usize>(), odd_value()), 1..3)) {
        let mut document = serde_json::to_value(state(7)).unwrap();
        for (at, value) in odd {
            misplace(&mut document, at, value);
        }
        let columns = [("name", "shop".to_owned().into()), ("state", document.to_string().into()), ("evidence", rusqlite::types::Value::Null)];
        match read_of(&columns, rows::service) {
            Ok(stored) => {
                let again = rows::text(&stored.state).unwrap_or_default();
                prop_assert_eq!(serde_json::from_str::<ServiceState>(&again).unwrap(), stored.state);
            }
            Err(Failure::Told(StoreError::Corrupt(told))) => prop_assert!(told.contains("state of service shop")),
            Err(other) => prop_assert!(false, "{}", other),
        }
    }
}
