//! An SQLite file: the answers in a table `predictions`, what was asked in a table `job`.

use rusqlite::types::Value as Cell;
use rusqlite::{Connection, params_from_iter};
use serde_json::Value;

use super::{BatchError, Format, Source};
use crate::batch::columns::{Column, Kind, text};

/// SQLite's own limit, `SQLITE_MAX_COLUMN`.
const MOST: usize = 2000;

pub(super) const FORMAT: Format =
    Format { endings: &["db", "sqlite", "sqlite3"], most_columns: Some(MOST), write };

fn write(source: &Source<'_>) -> Result<(), BatchError> {
    let columns = source.columns()?;
    let list = unlike(columns.list());
    let fault = |e: rusqlite::Error| source.fault(e);
    let mut connection = Connection::open(source.path).map_err(fault)?;
    // The file is nobody's until it is renamed: a journal would be written for nothing.
    connection.execute_batch("PRAGMA journal_mode = OFF; PRAGMA synchronous = FULL;").map_err(fault)?;
    let rows = connection.transaction().map_err(fault)?;
    let described: Vec<String> = list.iter().map(described).collect();
    rows.execute(&format!("CREATE TABLE predictions ({})", described.join(", ")), []).map_err(fault)?;
    {
        let marks = vec!["?"; list.len()].join(", ");
        let mut insert = rows.prepare(&format!("INSERT INTO predictions VALUES ({marks})")).map_err(fault)?;
        for line in source.parts.answers() {
            let cells = columns.cells(&line?);
            let cells = cells.into_iter().zip(&list).map(|(cell, column)| value(cell, column.kind));
            insert.execute(params_from_iter(cells)).map_err(fault)?;
        }
    }
    rows.execute_batch("CREATE TABLE job (key TEXT PRIMARY KEY, value TEXT)").map_err(fault)?;
    if let Ok(Value::Object(fields)) = serde_json::to_value(source.identity) {
        for (key, value) in fields {
            rows.execute("INSERT INTO job VALUES (?1, ?2)", [Some(key), text(&value)]).map_err(fault)?;
        }
    }
    rows.commit().map_err(fault)?;
    connection.close().map_err(|(_, e)| fault(e))
}

/// The same columns under names that SQLite, which does not tell cases apart, tells apart.
fn unlike(columns: Vec<Column>) -> Vec<Column> {
    let mut taken = std::collections::HashSet::new();
    let rename = |column: Column| {
        let names = std::iter::once(column.name.clone()).chain((2..).map(|k| format!("{}_{k}", column.name)));
        let free = names.into_iter().find(|name| taken.insert(name.to_ascii_lowercase()));
        Column { name: free.unwrap_or_default(), ..column }
    };
    columns.into_iter().map(rename).collect()
}

fn described(column: &Column) -> String {
    let kind = match column.kind {
        Kind::Bool | Kind::Integer => "INTEGER",
        Kind::Real => "REAL",
        Kind::Numbers | Kind::Text => "TEXT",
    };
    let key = if column.name == "index" { " PRIMARY KEY" } else { "" };
    format!("\"{}\" {kind}{key}", column.name.replace('"', "\"\""))
}

fn value(cell: Value, kind: Kind) -> Cell {
    match (cell, kind) {
        (Value::Null, _) => Cell::Null,
        (Value::Bool(is), Kind::Bool) => Cell::Integer(is.into()),
        (Value::Number(number), Kind::Integer) => number.as_i64().map_or(Cell::Null, Cell::Integer),
        (Value::Number(number), Kind::Real) => number.as_f64().map_or(Cell::Null, Cell::Real),
        (cell, _) => text(&cell).map_or(Cell::Null, Cell::Text),
    }
}
