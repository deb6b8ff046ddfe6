//! State in an embedded SQLite database: write-ahead log, full sync, one process at a time.
//!
//! ```text
//! open:    lock the sibling file ─► connect ─► check ─► schema
//! a call:  connect again if the last call failed ─► still our file? ─► one transaction ─► on failure, disconnect
//! ```
//!
//! After any failure the connection is given up and the next call makes a new one. So a disk that was full or
//! read-only for a while leaves nothing behind, and what the next call sees is what the disk holds.

mod backup;
mod opening;
mod rows;
#[cfg(test)]
mod tests;
mod upgrade;

pub use opening::OpenError;

use crate::control::ports::{HistoryQuestion, Record, Store, StoreError, StoredService};
use crate::model::ServiceName;
use crate::model::view::HistoryView;
use opening::{FileId, Lock};
use rusqlite::{Connection, OptionalExtension, TransactionBehavior, params};
use std::path::{Path, PathBuf};

/// Entries of the history that are kept of each service: months of releases, in a few tens of megabytes.
const HISTORY_KEPT: i64 = 10_000;
/// Records, of what a decision was made of, that are kept of each service: those of its newest entries.
const RECORDS_KEPT: i64 = 1_000;

/// The state of all services in one file.
#[derive(Debug)]
pub struct SqliteStore {
    path: PathBuf,
    /// Which file it is, so that one put in its place is noticed.
    file: FileId,
    connection: Option<Connection>,
    /// Held for as long as the store is.
    _lock: Lock,
}

/// Why a call failed, as this module passes it on inside.
#[derive(Debug, thiserror::Error)]
enum Failure {
    #[error(transparent)]
    Sqlite(#[from] rusqlite::Error),
    #[error(transparent)]
    Told(#[from] StoreError),
}

impl SqliteStore {
    /// Opens the state, or makes it where there is none, and locks it until this value is dropped or the process ends.
    ///
    /// # Errors
    /// When it is in use by another process, can't be opened or written, or is not the state of this program.
    pub fn open(path: &Path) -> Result<Self, OpenError> {
        let path = opening::resolve(path)?;
        let lock = Lock::take(&path)?;
        opening::make(&path).map_err(|error| OpenError::from_io(&path, &error))?;
        let connection = opening::connect_and_check(&path)?;
        let file = FileId::of(&path).map_err(|source| OpenError::from_io(&path, &source))?;
        Ok(Self { path, file, connection: Some(connection), _lock: lock })
    }

    /// Does something with the connection. When it fails, the connection is given up.
    fn with<T>(&mut self, work: impl FnOnce(&mut Connection) -> Result<T, Failure>) -> Result<T, StoreError> {
        if FileId::of(&self.path).ok() != Some(self.file) {
            // What would be written here is lost with the next start, so it must not look stored.
            return Err(StoreError::Unavailable(format!(
                "{} was removed or replaced while the router runs; put it back, or restart the router",
                self.path.display()
            )));
        }
        let mut connection = match self.connection.take() {
            Some(connection) => connection,
            None => opening::connect(&self.path).map_err(|error| StoreError::Unavailable(error.to_string()))?,
        };
        match work(&mut connection) {
            Ok(value) => {
                self.connection = Some(connection);
                Ok(value)
            }
            Err(Failure::Told(error)) => {
                self.connection = Some(connection);
                Err(error)
            }
            Err(Failure::Sqlite(error)) => Err(opening::told(&self.path, &error)),
        }
    }
}

impl Store for SqliteStore {
    fn load(&mut self) -> Result<Vec<StoredService>, StoreError> {
        self.with(|connection| {
            let mut statement = connection.prepare_cached("select name, state, evidence from service order by name")?;
            let mut rows = statement.query([])?;
            let mut services = Vec::new();
            while let Some(row) = rows.next()? {
                services.push(rows::service(row)?);
            }
            Ok(services)
        })
    }

    fn commit(&mut self, record: &Record) -> Result<(), StoreError> {
        self.with(|connection| {
            // Dropped without a commit, it rolls back.
            let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
            compare(&transaction, record)?;
            write(&transaction, record)?;
            transaction.commit()?;
            Ok(())
        })
    }

    fn history(&mut self, service: &ServiceName, question: HistoryQuestion) -> Result<Vec<HistoryView>, StoreError> {
        let limit = i64::try_from(question.limit).unwrap_or(HISTORY_KEPT).min(HISTORY_KEPT);
        // An id that is too large for the store is in it no more than one that it has not given yet.
        let id = question.id.map(|id| i64::try_from(id).unwrap_or(i64::MAX));
        self.with(|connection| {
            let mut statement = connection.prepare_cached(
                "select id, at, revision, decision, by, reason, phase, live, candidate, weight, evidence, record
                 from history left join record on ?4 and record.history = history.id
                 where service = ?1 and (?2 is null or id = ?2) order by id desc limit ?3",
            )?;
            let mut rows = statement.query(params![service.as_str(), id, limit, question.record])?;
            let mut entries = Vec::new();
            while let Some(row) = rows.next()? {
                entries.push(rows::entry(service, row)?);
            }
            entries.reverse();
            Ok(entries)
        })
    }

    fn backup(&mut self, file: &Path) -> Result<(), StoreError> {
        self.with(|connection| backup::write(connection, file))
    }
}

/// Refuses a record whose revision is not the stored one.
fn compare(connection: &Connection, record: &Record) -> Result<(), Failure> {
    let Some(expected) = record.expected else { return Ok(()) };
    let stored: Option<i64> = connection
        .prepare_cached("select revision from service where name = ?1")?
        .query_row([record.service.as_str()], |row| row.get(0))
        .optional()?;
    if stored.unwrap_or(0) == rows::number(expected)? {
        Ok(())
    } else {
        Err(StoreError::Moved(record.service.clone(), expected).into())
    }
}

fn write(connection: &Connection, record: &Record) -> Result<(), Failure> {
    let name = record.service.as_str();
    connection
        .prepare_cached(
            "insert into service (name, revision, state, evidence) values (?1, ?2, ?3, ?4)
             on conflict (name) do update set
             revision = excluded.revision, state = excluded.state, evidence = excluded.evidence",
        )?
        .execute(params![name, rows::number(record.state.revision)?, rows::text(&record.state)?, record.evidence])?;
    for entry in &record.history {
        rows::insert(connection, &record.service, entry)?;
    }
    if !record.history.is_empty() {
        connection
            .prepare_cached(
                "delete from history where service = ?1 and id <=
                 (select id from history where service = ?1 order by id desc limit 1 offset ?2)",
            )?
            .execute(params![name, HISTORY_KEPT])?;
        connection
            .prepare_cached(
                "delete from record where history in
                 (select id from history where service = ?1 order by id desc limit -1 offset ?2)",
            )?
            .execute(params![name, RECORDS_KEPT])?;
    }
    Ok(())
}
