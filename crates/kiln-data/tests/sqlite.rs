//! Tables of SQLite files as inputs of `kiln predict`: the rows of the same table as CSV, of one state, and what is refused.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)] // helpers of tests, outside #[test] functions

mod support;

use std::path::Path;

use kiln_data::inputs::{self, Input};
use kiln_data::{DataError, Preprocessor, Raw};
use rusqlite::Connection;
use support::data::{open, table, texts};

/// As many rows as two pages and a bit.
const ROWS: usize = 2100;

/// The rows of `rows.csv` of `support::table` in a table whose rowids have gaps and begin below zero.
fn database(folder: &Path) -> Connection {
    let db = Connection::open(folder.join("rows.db")).unwrap();
    let sql = "CREATE TABLE \"my rows\" (a INTEGER, note TEXT, b REAL, c TEXT); CREATE TABLE other (x)";
    db.execute_batch(sql).unwrap();
    db.execute_batch("BEGIN").unwrap();
    for i in 0..ROWS as i64 {
        let row = (3 * i - 10, i, format!("note {i}"), (i * i % 17) as f64, ["x", "y", "z"][i as usize % 3]);
        db.execute("INSERT INTO \"my rows\" (rowid, a, note, b, c) VALUES (?1, ?2, ?3, ?4, ?5)", row)
            .unwrap();
    }
    db.execute_batch("COMMIT").unwrap();
    db
}

fn all(input: &str, program: &Preprocessor, keep: &[&str]) -> Result<Vec<Input>, DataError> {
    let keep: Vec<String> = keep.iter().map(|name| name.to_string()).collect();
    Ok(inputs::open(input, program, &keep)?.collect())
}

#[track_caller]
fn refused(input: &str, program: &Preprocessor, words: &[&str]) {
    let error = all(input, program, &[]).err().expect("it was accepted");
    let text = format!("{error}; {}", error.hint().expect("a remedy"));
    words.iter().for_each(|word| assert!(text.contains(word), "{word:?} is not in: {text}"));
}

#[test]
fn rows_of_a_table_are_those_of_the_same_csv_file() {
    let folder = tempfile::tempdir().unwrap();
    let data = open(table(folder.path(), ROWS));
    database(folder.path());
    let csv = folder.path().join("rows.csv").display().to_string();
    let db = format!("{}:my rows", folder.path().join("rows.db").display());
    let of_csv = all(&csv, &data.preprocessor, &[]).unwrap();
    let of_db = all(&db, &data.preprocessor, &["note", "a"]).unwrap();
    assert_eq!((of_csv.len(), of_db.len()), (ROWS, ROWS));
    for (k, (a, b)) in of_csv.into_iter().zip(of_db).enumerate() {
        assert_eq!(b.kept, [format!("note {k}"), k.to_string()]);
        assert_eq!(b.name, format!("{db}:{}", k + 1));
        assert_eq!(a.read().1.unwrap(), b.read().1.unwrap());
    }
}

#[test]
fn a_writer_beside_the_reading_changes_nothing_of_it() {
    let folder = tempfile::tempdir().unwrap();
    let data = open(table(folder.path(), 20));
    let writer = database(folder.path());
    writer.pragma_update(None, "journal_mode", "WAL").unwrap();
    let db = format!("{}:my rows", folder.path().join("rows.db").display());
    let mut reading = inputs::open(&db, &data.preprocessor, &[]).unwrap();
    reading.next().unwrap();
    writer.execute("DELETE FROM \"my rows\" WHERE a > 1000", []).unwrap();
    assert_eq!(reading.count(), ROWS - 1);
    assert_eq!(all(&db, &data.preprocessor, &[]).unwrap().len(), 1001);
}

#[test]
fn cells_that_fit_nothing_are_faults_of_their_rows() {
    let folder = tempfile::tempdir().unwrap();
    let data = open(texts(folder.path(), 20));
    let db = Connection::open(folder.path().join("t.sqlite")).unwrap();
    db.execute_batch(
        "CREATE TABLE t (said, label); INSERT INTO t VALUES ('good fun', 1), (NULL, 1), (x'ff00', 0), (7, 0),
         (CAST(x'66ff' AS TEXT), 1), ('bad', 0)",
    )
    .unwrap();
    let file = folder.path().join("t.sqlite").display().to_string();
    // The model was trained on columns by their places.
    let read: Vec<_> = all(&file, &data.preprocessor, &[]).unwrap().into_iter().map(Input::read).collect();
    assert_eq!(read[0].1.as_ref().unwrap(), &Raw::Text("good fun".into()));
    assert_eq!(read[5].1.as_ref().unwrap(), &Raw::Text("bad".into()));
    for (k, got) in [(1, "null"), (2, "blob of bytes"), (3, "7"), (4, "not UTF-8 from byte")] {
        let error = read[k].1.as_ref().unwrap_err().to_string();
        assert!(
            error.contains("t.sqlite:t:") && error.contains("a string") && error.contains(got),
            "{error}"
        );
    }
}

#[test]
fn what_is_no_table_with_these_columns_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let data = open(table(folder.path(), 20));
    let db = database(folder.path());
    db.execute_batch("CREATE VIEW seen AS SELECT * FROM \"my rows\"").unwrap();
    let at = |table: &str| format!("{}{table}", folder.path().join("rows.db").display());
    let program = &data.preprocessor;
    refused(&at(""), program, &["several tables: my rows, other, seen", "name one"]);
    refused(&at(":my row"), program, &["no table \"my row\"", "did you mean", ":my rows"]);
    refused(&at(":other"), program, &["no column \"a\"", "x"]);
    refused(&at(":seen"), program, &["order of its rows", "CREATE TABLE copy AS"]);
    refused("/nowhere/rows.db:t", program, &["not found", "an SQLite file"]);
    std::fs::write(folder.path().join("no.db"), "a text that is no database, long enough to be looked at")
        .unwrap();
    refused(&folder.path().join("no.db").display().to_string(), program, &["no.db", "cannot be read"]);
    let error = all(&at(":my rows"), program, &["nota"]).err().unwrap().to_string();
    assert!(error.contains("no column \"nota\""), "{error}");
}
