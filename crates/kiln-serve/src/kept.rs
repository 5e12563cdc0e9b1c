//! The predictions that are kept: where they go by the file's ending.
//! Owns the table of an SQLite file; when lines are written, and that none is waited for, is `lines`'.

use std::fs::OpenOptions;
use std::path::Path;
use std::time::Duration;

use kiln_core::files::FileError;
use rusqlite::{Connection, params};
use serde_json::Value;

use crate::ServeError;
use crate::lines::{Sink, Text};

/// Endings of SQLite files.
const SQLITE: [&str; 3] = ["db", "sqlite", "sqlite3"];
/// Longest that the writer, which nobody waits for, lets another process write to the file.
const BUSY: Duration = Duration::from_secs(5);
const TABLE: &str = "CREATE TABLE IF NOT EXISTS predictions (id INTEGER PRIMARY KEY, time TEXT NOT NULL, \
     request_id TEXT NOT NULL, \"index\" INTEGER NOT NULL, model TEXT NOT NULL, version TEXT NOT NULL, input TEXT, \
     prediction TEXT NOT NULL)";
const INSERT: &str = "INSERT INTO predictions (time, request_id, \"index\", model, version, input, prediction) \
     VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)";

/// What a file takes predictions by, opened to be appended to.
pub(crate) fn open(path: &Path) -> Result<Box<dyn Sink>, ServeError> {
    let ending = path.extension().and_then(|e| e.to_str()).unwrap_or_default();
    if SQLITE.contains(&ending) {
        return Ok(Box::new(Table::open(path)?));
    }
    let file = OpenOptions::new().create(true).append(true).open(path);
    Ok(Box::new(Text(Box::new(file.map_err(FileError::at(path, "append to"))?))))
}

impl Sink for Box<dyn Sink> {
    fn take(&mut self, lines: &[Value]) -> Result<(), String> {
        (**self).take(lines)
    }
}

/// An SQLite file with a write-ahead log: others read it while it is written to.
struct Table(Connection);

impl Table {
    fn open(path: &Path) -> Result<Self, ServeError> {
        let fault = |problem: String| ServeError::Predictions { path: path.into(), problem };
        let sql = |e: rusqlite::Error| fault(e.to_string());
        let connection = Connection::open(path).map_err(sql)?;
        connection.busy_timeout(BUSY).map_err(sql)?;
        let mode: String =
            connection.query_row("PRAGMA journal_mode = WAL", [], |row| row.get(0)).map_err(sql)?;
        if mode != "wal" {
            let problem = format!("its file system allows no write-ahead log (journal mode {mode:?})");
            return Err(fault(problem));
        }
        connection.execute_batch("PRAGMA synchronous = NORMAL").map_err(sql)?;
        connection.execute(TABLE, []).map_err(sql)?;
        // A table of another program under this name.
        connection.prepare(INSERT).map_err(sql)?;
        Ok(Self(connection))
    }

    fn insert(&mut self, lines: &[Value]) -> rusqlite::Result<()> {
        let rows = self.0.transaction()?;
        {
            let mut insert = rows.prepare(INSERT)?;
            for line in lines {
                let word = |key: &str| line[key].as_str();
                insert.execute(params![
                    word("time"),
                    word("request_id"),
                    line["index"].as_i64(),
                    word("model"),
                    word("version"),
                    cell(&line["input"]),
                    line["prediction"].to_string(),
                ])?;
            }
        }
        rows.commit()
    }
}

impl Sink for Table {
    fn take(&mut self, lines: &[Value]) -> Result<(), String> {
        self.insert(lines).map_err(|e| e.to_string())
    }
}

/// A text as it is, anything else as JSON.
fn cell(input: &Value) -> Option<String> {
    match input {
        Value::Null => None,
        Value::String(text) => Some(text.clone()),
        other => Some(other.to_string()),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_file_of_anything_else_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let text = folder.path().join("a.db");
        std::fs::write(&text, "not a database, but long enough to be looked at as one by its header")
            .unwrap();
        assert!(matches!(open(&text), Err(ServeError::Predictions { .. })));
        let other = folder.path().join("b.sqlite");
        Connection::open(&other).unwrap().execute_batch("CREATE TABLE predictions (x)").unwrap();
        let error = open(&other).err().unwrap().to_string();
        assert!(error.contains("no column named time"), "{error}");
    }

    #[test]
    fn a_batch_is_taken_whole_or_not_at_all_and_read_meanwhile() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.db");
        let mut sink = open(&path).unwrap();
        let line = |i: i64| json!({"time": "t", "request_id": "r", "index": i, "model": "m", "version": "1", "input": [1, 2], "prediction": {"label": "a"}});
        sink.take(&[line(0), line(1)]).unwrap();
        assert!(sink.take(&[line(2), json!({"time": 3})]).is_err());
        let reader = Connection::open(&path).unwrap();
        let rows = |sql: &str| reader.query_row(sql, [], |row| row.get::<_, String>(0)).unwrap();
        assert_eq!(rows("SELECT group_concat(\"index\" || input) FROM predictions"), "0[1,2],1[1,2]");
        assert_eq!(rows("SELECT prediction ->> '$.label' FROM predictions WHERE id = 2"), "a");
    }
}
