//! The tables, and the way from those of each earlier version to those of this one.

use rusqlite::{Connection, Transaction, params};
use serde_json::{Map, Value, json};

/// "cuto" in ASCII: tells our databases from those of other programs.
pub(super) const APPLICATION: i64 = 0x6375_746f;
/// Rises with each change of the tables, or of what is in them.
pub(super) const SCHEMA: i64 = 2;

/// Brings the tables of a version up to those of this one, all or nothing; 0 has none.
pub(super) fn bring_up(connection: &mut Connection, from: i64) -> rusqlite::Result<()> {
    let transaction = connection.transaction()?;
    if from < 1 {
        transaction.execute_batch(FIRST)?;
        transaction.pragma_update(None, "application_id", APPLICATION)?;
    }
    if from < 2 {
        transaction.execute_batch(RECORDS)?;
        rewrite(&transaction, "service", "name", "state", in_state)?;
        rewrite(&transaction, "history", "id", "evidence", in_evidence)?;
    }
    transaction.pragma_update(None, "user_version", SCHEMA)?;
    transaction.commit()
}

pub(super) const FIRST: &str = "create table service (
         name text primary key not null,
         revision integer not null,
         state text not null,
         evidence text
     ) strict;
     create table history (
         id integer primary key not null,
         service text not null references service (name),
         at text not null,
         revision integer not null,
         decision text not null,
         by text not null,
         reason text not null,
         phase text not null,
         live text not null,
         candidate text,
         weight integer not null,
         evidence text
     ) strict;
     create index history_of_service on history (service, id);";

/// What decisions were made of, beside the history, so that who only reads the history does not read it.
const RECORDS: &str = "create table record (
         history integer primary key not null references history (id) on delete cascade,
         record text not null
     ) strict;";

/// Rewrites the JSON of a column, row by row. What is no JSON stays as it is, and is told when it is read.
fn rewrite(
    transaction: &Transaction<'_>,
    table: &str,
    key: &str,
    column: &str,
    change: fn(&mut Value),
) -> rusqlite::Result<()> {
    let mut keys = transaction.prepare(&format!("select {key} from {table} where {column} is not null"))?;
    let keys = keys.query_map([], |row| row.get(0))?.collect::<Result<Vec<rusqlite::types::Value>, _>>()?;
    let mut read = transaction.prepare(&format!("select {column} from {table} where {key} = ?1"))?;
    let mut write = transaction.prepare(&format!("update {table} set {column} = ?2 where {key} = ?1"))?;
    for key in keys {
        let text: String = read.query_row([&key], |row| row.get(0))?;
        let Ok(mut value) = serde_json::from_str::<Value>(&text) else { continue };
        change(&mut value);
        write.execute(params![key, value.to_string()])?;
    }
    Ok(())
}

/// PromQL checks could only ask for one number within bounds: now they say so.
fn in_state(state: &mut Value) {
    let checks = state.pointer_mut("/rollout/plan/checks").and_then(Value::as_array_mut);
    for check in checks.into_iter().flatten().filter_map(Value::as_object_mut) {
        if let Some(query) = check.remove("query") {
            let bounds = json!({ "query": query, "max": taken(check, "max"), "min": taken(check, "min") });
            check.insert("ask".to_owned(), json!({ "bounds": bounds }));
            // What `{{window}}` stands for, which no query had yet.
            check.insert("window".to_owned(), "1m".into());
        }
    }
}

/// Every check was asked in every step, and had one query at the most.
fn in_evidence(evidence: &mut Value) {
    let checks = evidence.get_mut("checks").and_then(Value::as_array_mut);
    for check in checks.into_iter().flatten().filter_map(Value::as_object_mut) {
        check.insert("asked".to_owned(), true.into());
        if let Some(query) = check.remove("query") {
            let query = json!({ "what": "value", "pool": null, "query": query, "value": taken(check, "value") });
            check.insert("queries".to_owned(), json!([query]));
        }
    }
}

fn taken(fields: &mut Map<String, Value>, name: &str) -> Value {
    fields.remove(name).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::odd_input::odd_value;
    use proptest::prelude::*;

    /// JSON with the names that are looked for, and others.
    fn documents() -> impl Strategy<Value = Value> {
        odd_value().prop_recursive(4, 24, 4, |inner| {
            let name =
                prop::sample::select(vec!["checks", "query", "rollout", "plan", "max", "min", "value", "ask", "a"]);
            prop_oneof![
                prop::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
                prop::collection::vec((name.prop_map(str::to_owned), inner), 0..4)
                    .prop_map(|fields| fields.into_iter().collect()),
            ]
        })
    }

    odd_input! {
        fn what_was_brought_up_once_stays_as_it_is(document in documents(), wrapped in any::<bool>()) {
            let in_place = |document: &Value| if wrapped { json!({"checks": [document], "rollout": {"plan": {"checks": [document]}}}) } else { document.clone() };
            for change in [in_state, in_evidence] {
                let mut once = in_place(&document);
                change(&mut once);
                let mut twice = once.clone();
                change(&mut twice);
                prop_assert_eq!(twice, once);
            }
        }

        fn what_has_no_checks_is_left_alone(document in documents()) {
            prop_assume!(document.get("checks").is_none() && document.pointer("/rollout/plan/checks").is_none());
            for change in [in_state, in_evidence] {
                let mut changed = document.clone();
                change(&mut changed);
                prop_assert_eq!(&changed, &document);
            }
        }
    }
}
