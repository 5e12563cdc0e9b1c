//! Tables of SQLite files, `FILE.db:TABLE`: each row becomes a JSON object, in the order of the rowids, and is read as a
//! line of a JSON Lines file is.
//! Owns the way from a table to such lines, of one state of the file however long the reading takes; never writes.

use std::fmt;
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use rusqlite::types::ValueRef;
use rusqlite::{Connection, OpenFlags};
use serde_json::{Map, Value, json};

use super::format::{Format, RowIter, stream};
use super::rows::nearest;
use crate::config::Column;
use crate::error::DataError;
use crate::preprocessor::Columns;

/// Endings of SQLite files.
const ENDINGS: [&str; 3] = ["db", "sqlite", "sqlite3"];
/// Rows read at once.
const PAGE: usize = 1024;

/// A table in a file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Place {
    pub(crate) file: PathBuf,
    table: Option<String>,
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.file.display())?;
        self.table.as_ref().map_or(Ok(()), |table| write!(f, ":{table}"))
    }
}

impl Place {
    /// What `FILE.db:TABLE` or `FILE.db` names; `None` where `input` is no such name.
    pub(crate) fn of(input: &str) -> Option<Self> {
        let is_database = |file: &str| {
            let ending = Path::new(file).extension().and_then(|e| e.to_str());
            ending.is_some_and(|ending| ENDINGS.contains(&ending))
                && (!file.contains(char::is_whitespace) || Path::new(file).exists())
        };
        if is_database(input) {
            return Some(Self { file: input.into(), table: None });
        }
        let (file, table) = input.rsplit_once(':')?;
        is_database(file).then(|| Self { file: file.into(), table: Some(table.into()) })
    }

    /// The same with its table, which is the only one of the file where none was named.
    pub(crate) fn with_table(self) -> Result<Self, DataError> {
        let tables = self.tables(&self.open()?)?;
        match (&self.table, tables.as_slice()) {
            (Some(table), _) if tables.contains(table) => Ok(self),
            (Some(table), _) => {
                let remedy = match nearest(table, &tables) {
                    Some(name) => format!("did you mean {}:{name}?", self.file.display()),
                    None => "name one of these".into(),
                };
                let problem = format!("no table \"{table}\"; the tables are {}", tables.join(", "));
                Err(self.unreadable(problem, &remedy))
            }
            (None, [only]) => Ok(Self { table: Some(only.clone()), ..self }),
            (None, []) => Err(self.unreadable("holds no table".into(), "give a file with a table")),
            (None, _) => {
                let problem = format!("holds several tables: {}", tables.join(", "));
                Err(self.unreadable(problem, &format!("name one: {}:{}", self.file.display(), tables[0])))
            }
        }
    }

    /// The table's rows; a place from `with_table`.
    pub(crate) fn rows(&self, columns: &Columns, keep: &[Column]) -> Result<RowIter, DataError> {
        let connection = self.open()?;
        let table = quoted(self.table.as_deref().unwrap_or_default());
        let fault = |e: rusqlite::Error| self.fault(&e);
        // One state of the file for as long as the connection lives, whatever others write.
        connection.execute_batch("BEGIN").map_err(fault)?;
        let there: Vec<String> = {
            let columns = connection.prepare(&format!("SELECT * FROM {table} LIMIT 0")).map_err(fault)?;
            columns.column_names().map(String::from).collect()
        };
        let mut wanted = Vec::new();
        for column in columns.inputs().into_iter().chain(keep) {
            let name = match column {
                Column::Name(name) => there.contains(name).then(|| name.clone()),
                Column::Index(i) => there.get(*i).cloned(),
            };
            let Some(name) = name else { return Err(self.absent(column, there)) };
            if !wanted.contains(&name) {
                wanted.push(name);
            }
        }
        let list = wanted.iter().map(|name| quoted(name)).collect::<Vec<_>>().join(", ");
        let first = format!("SELECT rowid, {list} FROM {table} ORDER BY rowid LIMIT {PAGE}");
        let further =
            format!("SELECT rowid, {list} FROM {table} WHERE rowid > ?1 ORDER BY rowid LIMIT {PAGE}");
        connection.prepare(&further).map_err(|e| {
            let problem = format!("cannot be read in the order of its rows: {e}");
            self.unreadable(problem, "give a table with rowids; of a view, CREATE TABLE copy AS SELECT ...")
        })?;
        let place = self.clone();
        let lines = Lines { place, connection, first, further, wanted, last: None, page: Vec::new(), at: 0 };
        let named = |column: &Column| match column {
            Column::Name(name) => Column::Name(name.clone()),
            Column::Index(i) => Column::Name(there.get(*i).cloned().unwrap_or_default()),
        };
        let keep: Vec<Column> = keep.iter().map(named).collect();
        stream(lines, Path::new(&self.to_string()), Format::Jsonl, &columns.renamed(named), &keep)
    }

    fn open(&self) -> Result<Connection, DataError> {
        if !self.file.is_file() {
            return Err(DataError::Missing { path: self.file.clone(), expected: "an SQLite file".into() });
        }
        let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX;
        Connection::open_with_flags(&self.file, flags).map_err(|e| self.fault(&e))
    }

    fn tables(&self, connection: &Connection) -> Result<Vec<String>, DataError> {
        let query = "SELECT name FROM sqlite_schema WHERE type IN ('table', 'view') \
                     AND name NOT LIKE 'sqlite\\_%' ESCAPE '\\' ORDER BY name";
        let mut statement = connection.prepare(query).map_err(|e| self.fault(&e))?;
        let names = statement.query_map([], |row| row.get(0)).map_err(|e| self.fault(&e))?;
        names.collect::<Result<_, _>>().map_err(|e| self.fault(&e))
    }

    fn absent(&self, column: &Column, there: Vec<String>) -> DataError {
        let (column, similar) = match column {
            Column::Name(name) => (format!("\"{name}\""), nearest(name, &there)),
            Column::Index(i) => (i.to_string(), None),
        };
        DataError::Column { path: self.to_string().into(), column, there, similar }
    }

    fn fault(&self, error: &rusqlite::Error) -> DataError {
        self.unreadable(format!("cannot be read: {error}"), "check the file with `sqlite3 FILE .schema`")
    }

    fn unreadable(&self, problem: String, remedy: &str) -> DataError {
        DataError::Unreadable { path: self.file.clone(), problem, remedy: remedy.into() }
    }
}

/// A name in SQL.
fn quoted(name: &str) -> String {
    format!("\"{}\"", name.replace('"', "\"\""))
}

/// The rows as JSON Lines, a page at a time.
struct Lines {
    place: Place,
    connection: Connection,
    /// The query of the first page, and that of those after a rowid.
    first: String,
    further: String,
    wanted: Vec<String>,
    /// The rowid of the last row read.
    last: Option<i64>,
    page: Vec<u8>,
    at: usize,
}

impl Lines {
    /// Reads the next rows; nothing where there are no more.
    fn turn(&mut self) -> rusqlite::Result<()> {
        self.page.clear();
        self.at = 0;
        let query = if self.last.is_some() { &self.further } else { &self.first };
        let mut statement = self.connection.prepare(query)?;
        let mut rows = statement.query(rusqlite::params_from_iter(self.last))?;
        while let Some(row) = rows.next()? {
            self.last = Some(row.get(0)?);
            let mut object = Map::new();
            for (k, name) in self.wanted.iter().enumerate() {
                object.insert(name.clone(), value(row.get_ref(k + 1)?));
            }
            self.page.extend_from_slice(Value::Object(object).to_string().as_bytes());
            self.page.push(b'\n');
        }
        Ok(())
    }
}

impl Read for Lines {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        if self.at == self.page.len() {
            self.turn().map_err(|e| io::Error::other(format!("{}: {e}", self.place)))?;
        }
        let n = into.len().min(self.page.len() - self.at);
        into[..n].copy_from_slice(&self.page[self.at..self.at + n]);
        self.at += n;
        Ok(n)
    }
}

/// A cell in JSON. What JSON has no word for becomes a string or an object, which the reader of numbers and texts refuses
/// by name.
fn value(cell: ValueRef<'_>) -> Value {
    match cell {
        ValueRef::Null => Value::Null,
        ValueRef::Integer(i) => json!(i),
        ValueRef::Real(x) if x.is_finite() => json!(x),
        ValueRef::Real(x) => json!(x.to_string()),
        ValueRef::Text(bytes) => match std::str::from_utf8(bytes) {
            Ok(text) => json!(text),
            Err(e) => json!({ "text that is not UTF-8 from byte": e.valid_up_to() }),
        },
        ValueRef::Blob(bytes) => json!({ "blob of bytes": bytes.len() }),
    }
}
