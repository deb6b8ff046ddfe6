//! Values to rows and back.

use super::Failure;
use crate::control::ports::{StoreError, StoredService};
use crate::model::view::HistoryView;
use crate::model::{BasisPoints, PoolName, ServiceName};
use rusqlite::types::FromSql;
use rusqlite::{Connection, Row, params};
use serde::Serialize;
use serde::de::DeserializeOwned;
use std::fmt::Display;

fn corrupt(what: impl Display, error: impl Display) -> Failure {
    StoreError::Corrupt(format!("the stored {what} can't be understood: {error}")).into()
}

/// As SQLite's signed integers.
pub(super) fn number(value: u64) -> Result<i64, Failure> {
    i64::try_from(value).map_err(|error| corrupt("number", error))
}

/// As JSON.
pub(super) fn text(value: &impl Serialize) -> Result<String, Failure> {
    serde_json::to_string(value).map_err(|error| corrupt("value", error))
}

fn json<T: DeserializeOwned>(what: impl Display, text: &str) -> Result<T, Failure> {
    serde_json::from_str(text).map_err(|error| corrupt(what, error))
}

/// A column, where a value of a wrong type is a fault of the file and not of the disk.
fn column<T: FromSql>(row: &Row<'_>, name: &str) -> Result<T, Failure> {
    row.get(name).map_err(|error| corrupt(format_args!("column {name}"), error))
}

/// A column whose text is one word that has a type.
fn word<T: DeserializeOwned>(row: &Row<'_>, name: &str) -> Result<T, Failure> {
    let text: String = column(row, name)?;
    serde_json::from_value(text.into()).map_err(|error| corrupt(name, error))
}

fn whole<T: TryFrom<i64>>(row: &Row<'_>, name: &str) -> Result<T, Failure>
where
    T::Error: Display,
{
    T::try_from(column(row, name)?).map_err(|error| corrupt(name, error))
}

/// `name, state, evidence`.
pub(super) fn service(row: &Row<'_>) -> Result<StoredService, Failure> {
    let name: ServiceName = word(row, "name")?;
    let state: String = column(row, "state")?;
    Ok(StoredService {
        state: json(format_args!("state of service {name}"), &state)?,
        evidence: column(row, "evidence")?,
        name,
    })
}

/// All columns of the history but the service.
pub(super) fn entry(service: &ServiceName, row: &Row<'_>) -> Result<HistoryView, Failure> {
    let candidate: Option<String> = column(row, "candidate")?;
    let evidence: Option<String> = column(row, "evidence")?;
    let weight: u16 = whole(row, "weight")?;
    let record: Option<String> = column(row, "record")?;
    Ok(HistoryView {
        id: whole(row, "id")?,
        at: word(row, "at")?,
        revision: whole(row, "revision")?,
        decision: column(row, "decision")?,
        by: column(row, "by")?,
        reason: column(row, "reason")?,
        phase: word(row, "phase")?,
        live: word(row, "live")?,
        candidate: candidate.map(|name| name.parse().map_err(|error| corrupt("candidate", error))).transpose()?,
        weight: BasisPoints::try_from(weight).map_err(|error| corrupt("weight", error))?,
        evidence: evidence.map(|text| json(format_args!("history of service {service}"), &text)).transpose()?,
        record: record.map(|text| json(format_args!("record of service {service}"), &text)).transpose()?,
    })
}

/// A record has some tens of kilobytes with every check that a plan may have. What is larger is left out, so that all
/// records of a service stay below a quarter of a gigabyte, come what may.
const LARGEST_RECORD: usize = 256 * 1024;

fn insert_record(connection: &Connection, service: &ServiceName, entry: i64, record: &str) -> Result<(), Failure> {
    if record.len() > LARGEST_RECORD {
        let bytes = record.len();
        tracing::warn!(%service, entry, bytes, "the record of a decision is too large to be kept: it can't be replayed");
        return Ok(());
    }
    connection
        .prepare_cached("insert into record (history, record) values (?1, ?2)")?
        .execute(params![entry, record])?;
    Ok(())
}

/// Appends an entry, with an id of its own.
pub(super) fn insert(connection: &Connection, service: &ServiceName, entry: &HistoryView) -> Result<(), Failure> {
    connection
        .prepare_cached(
            "insert into history
             (service, at, revision, decision, by, reason, phase, live, candidate, weight, evidence)
             values (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11)",
        )?
        .execute(params![
            service.as_str(),
            entry.at.to_string(),
            number(entry.revision)?,
            entry.decision,
            entry.by,
            entry.reason,
            entry.phase.as_str(),
            entry.live.as_str(),
            entry.candidate.as_ref().map(PoolName::as_str),
            entry.weight.get(),
            entry.evidence.as_ref().map(text).transpose()?,
        ])?;
    if let Some(record) = &entry.record {
        insert_record(connection, service, connection.last_insert_rowid(), &text(record)?)?;
    }
    Ok(())
}
