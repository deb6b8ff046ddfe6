use super::*;
use crate::model::{BasisPoints, Phase, Timestamp};
use crate::rollout::ServiceState;
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
    let history = store.history(&shop(), 10).unwrap();
    assert_eq!(history, [HistoryView { id: 1, ..entry(1) }, HistoryView { id: 2, ..entry(2) }]);
    assert_eq!(store.history(&shop(), 1).unwrap()[0].id, 2);
    assert!(store.history(&"other".parse().unwrap(), 10).unwrap().is_empty());
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
    assert_eq!(store.history(&shop(), 10).unwrap().len(), 1);
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
    Connection::open(&path).unwrap().pragma_update(None, "user_version", 2).unwrap();
    let refused = SqliteStore::open(&path).unwrap_err().to_string();
    assert!(refused.contains("newer version of cutover (schema 2, this one knows 1)"), "{refused}");
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
    let history = store.history(&shop(), usize::MAX).unwrap();
    assert_eq!((history.len(), history[0].id), (many - 5, 6));
    assert_eq!(store.history(&other.service, 10).unwrap().len(), 1);
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
    assert_eq!(copied.history(&shop(), 10).unwrap(), store.history(&shop(), 10).unwrap());
    assert!(!folder.path().join(".copy.db.part").exists());
    store.commit(&record(Some(1), 2)).unwrap();
}
