//! Jobs with answers made up here: what is kept, what goes on, what is refused, and what the files hold.

#![allow(clippy::expect_used, clippy::panic, clippy::unwrap_used)]

use std::fs;
use std::path::Path;

use kiln_data::inputs::{Fingerprint, Input};
use kiln_data::{DataError, Raw};
use kiln_eval::{Answer, EvalError, Prediction};
use parquet::file::reader::{FileReader, SerializedFileReader};
use parquet::record::Field;
use serde_json::{Map, Value, json};

use super::{BatchError, End, Identity, Job, Shard, Start};

const ROWS: usize = 23;
const WINDOW: usize = 4;

fn identity(model: &str, shard: Shard) -> Identity {
    Identity {
        model: model.into(),
        inputs: vec![Fingerprint { input: "rows".into(), of: "content".into(), hash: "0".into() }],
        shard,
        keep: vec![("id".into(), "own".into())],
        settings: Map::from_iter([("batch_size".into(), json!(2))]),
    }
}

/// Every 7th cannot be read.
fn rows() -> impl Iterator<Item = Input> {
    (0..ROWS).map(|i| {
        let raw = match i % 7 {
            6 => Err(DataError::Missing { path: format!("{i}").into(), expected: "a row".into() }),
            _ => Ok(Raw::Text(format!("text {i}"))),
        };
        let mut input = Input::new(format!("row {i}"), raw);
        input.kept.push(format!("id, {i}"));
        input
    })
}

fn answer(input: Input) -> Answer {
    let (input, raw) = input.read();
    match raw {
        Ok(Raw::Text(text)) => {
            let n = text.len() as f64;
            let fields = json!({
                "label": if text.ends_with('2') { "two \"2\"" } else { "other" },
                "score": 1.0 / n,
                "probabilities": { "A": 1.0 / n, "a": 1.0 - 1.0 / n },
                "embedding": [n, -0.5],
                "length": text.len(),
                "long": n > 6.0,
                "spans": [{ "at": 1 }],
            });
            let Value::Object(answer) = fields else { panic!("no object") };
            Answer::Prediction(Prediction { input, answer })
        }
        Ok(_) => panic!("only texts"),
        Err(error) => Answer::Unanswered { input, error: error.to_string() },
    }
}

/// Runs a job; `commits` is how many it may make.
fn run(output: &Path, identity: Identity, start: Start, commits: usize) -> Result<End, BatchError> {
    let mut left = commits;
    let mut watch = |_| {
        left -= 1;
        left > 0
    };
    let mut ask = |inputs: Vec<Input>| -> Result<Vec<Answer>, EvalError> {
        assert!(inputs.len() <= WINDOW);
        Ok(inputs.into_iter().map(answer).collect())
    };
    Job { output, identity, window: WINDOW, start }.run(rows(), &mut ask, &mut watch)
}

fn all(output: &Path, start: Start) -> Result<End, BatchError> {
    run(output, identity("m", Shard::ALL), start, usize::MAX)
}

fn lines(path: &Path) -> Vec<Value> {
    fs::read_to_string(path).unwrap().lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

#[test]
fn a_job_that_stops_anywhere_goes_on_to_the_same_bytes() {
    let folder = tempfile::tempdir().unwrap();
    for ending in ["jsonl", "csv", "parquet", "sqlite"] {
        let whole = folder.path().join(format!("whole.{ending}"));
        let End::Complete { answered: 20, failed: 3, first: Some(first), failures } =
            all(&whole, Start::New).unwrap()
        else {
            panic!("{ending}: 20 answers and 3 failures")
        };
        assert!(first.contains("6: not found"), "{first}");
        for stops in [vec![1], vec![2, 1], vec![5], vec![1, 1, 1, 1, 1]] {
            let output = folder.path().join(format!("{stops:?}.{ending}"));
            for commits in &stops {
                let end = run(&output, identity("m", Shard::ALL), Start::Resume, *commits).unwrap();
                assert!(matches!(end, End::Stopped { .. }), "{end:?}");
                assert!(!output.exists());
            }
            all(&output, Start::Resume).unwrap();
            assert!(fs::read(&output).unwrap() == fs::read(&whole).unwrap(), "{ending} {stops:?}");
            let own = super::beside(&output, "failures.jsonl");
            assert_eq!(fs::read(own).unwrap(), fs::read(&failures).unwrap());
            assert!(!super::beside(&output, "parts").exists());
            assert!(matches!(all(&output, Start::New).unwrap(), End::Already { answered: 20, failed: 3 }));
        }
    }
    let failures = lines(&folder.path().join("whole.jsonl.failures.jsonl"));
    assert_eq!(failures.iter().map(|f| f["index"].as_u64().unwrap()).collect::<Vec<_>>(), [6, 13, 20]);
    assert_eq!(failures[1]["own"], "id, 13");
}

#[test]
fn answers_of_other_jobs_are_neither_mixed_in_nor_replaced() {
    let folder = tempfile::tempdir().unwrap();
    let output = folder.path().join("out.jsonl");
    let job = |model: &str, start| run(&output, identity(model, Shard::ALL), start, usize::MAX);
    run(&output, identity("m", Shard::ALL), Start::New, 2).unwrap();
    assert!(matches!(job("m", Start::New), Err(BatchError::Stopped { rows: 8, .. })));
    for start in [Start::New, Start::Resume] {
        let error = job("other", start).unwrap_err();
        assert!(matches!(&error, BatchError::Another { what, .. } if what == "model"), "{error}");
    }
    job("other", Start::Overwrite).unwrap();
    let error = job("m", Start::New).unwrap_err().to_string();
    assert!(error.contains("of another job: model was \"other\", now \"m\""), "{error}");
    assert!(job("m", Start::Resume).is_err());
    job("m", Start::Overwrite).unwrap();
    assert!(matches!(job("m", Start::New), Ok(End::Already { .. })));

    let strange = folder.path().join("strange.csv");
    fs::write(&strange, "mine").unwrap();
    let error = all(&strange, Start::New).unwrap_err().to_string();
    assert!(error.contains("nothing says of which job"), "{error}");
    assert_eq!(fs::read_to_string(&strange).unwrap(), "mine");
    let error = all(&folder.path().join("out.txt"), Start::New).unwrap_err().to_string();
    assert!(error.contains(".jsonl, .csv, .parquet, .db, .sqlite, .sqlite3"), "{error}");
}

#[test]
fn one_process_at_a_time_and_damaged_parts_are_refused() {
    let folder = tempfile::tempdir().unwrap();
    let output = folder.path().join("out.jsonl");
    run(&output, identity("m", Shard::ALL), Start::New, 3).unwrap();
    let parts = super::beside(&output, "parts");
    let lock = fs::File::open(parts.join("lock")).unwrap();
    lock.lock().unwrap();
    assert!(matches!(all(&output, Start::Resume), Err(BatchError::Locked { .. })));
    lock.unlock().unwrap();

    let middle = parts.join("00000001.jsonl");
    let text = fs::read_to_string(&middle).unwrap();
    fs::write(&middle, text.lines().next().unwrap()).unwrap();
    let error = all(&output, Start::Resume).unwrap_err().to_string();
    assert!(error.contains("00000002.jsonl") && error.contains("part 1 before it is short"), "{error}");
    fs::write(&middle, &text[..text.len() / 2]).unwrap();
    let error = all(&output, Start::Resume).unwrap_err().to_string();
    assert!(error.contains("00000001.jsonl") && error.contains("is no object"), "{error}");
    all(&output, Start::Overwrite).unwrap();
}

#[test]
fn shards_share_the_inputs() {
    let folder = tempfile::tempdir().unwrap();
    let mut indices = Vec::new();
    for k in 1..=3 {
        let output = folder.path().join(format!("{k}.jsonl"));
        let shard = format!("{k}/3").parse().unwrap();
        run(&output, identity("m", shard), Start::New, usize::MAX).unwrap();
        let failures = super::beside(&output, "failures.jsonl");
        for line in lines(&output).iter().chain(&lines(&failures)) {
            let index = line["index"].as_u64().unwrap();
            assert_eq!(index % 3, k - 1);
            assert_eq!(line["input"], format!("row {index}"));
            indices.push(index);
        }
    }
    indices.sort_unstable();
    assert_eq!(indices, (0..ROWS as u64).collect::<Vec<_>>());
    for wrong in ["0/3", "4/3", "3", "a/b", "1/0", "-1/3"] {
        assert!(wrong.parse::<Shard>().unwrap_err().contains("1 <= K <= N"), "{wrong}");
    }
}

fn read(field: &Field) -> Value {
    match field {
        Field::Null => Value::Null,
        Field::Bool(is) => json!(is),
        Field::Long(n) => json!(n),
        Field::Double(x) => json!(x),
        Field::Str(text) => json!(text),
        Field::ListInternal(list) => list.elements().iter().map(read).collect(),
        other => panic!("{other:?}"),
    }
}

#[test]
fn files_hold_the_answers() {
    let folder = tempfile::tempdir().unwrap();
    let path = |ending: &str| folder.path().join(format!("out.{ending}"));
    for ending in ["jsonl", "csv", "parquet", "db"] {
        all(&path(ending), Start::New).unwrap();
    }
    let truth = lines(&path("jsonl"));
    assert_eq!(truth.len(), 20);
    assert_eq!(truth[2]["label"], "two \"2\"");
    assert_eq!(truth[2]["own"], "id, 2");
    let keys: Vec<&String> = truth[0].as_object().unwrap().keys().collect();
    let wanted =
        ["index", "input", "own", "label", "score", "probabilities", "embedding", "length", "long", "spans"];
    assert_eq!(keys, wanted);

    let mut csv = csv::Reader::from_path(path("csv")).unwrap();
    let header: Vec<String> = csv.headers().unwrap().iter().map(String::from).collect();
    let flat = ["index", "input", "own", "label", "score", "probabilities.A", "probabilities.a", "embedding"];
    assert_eq!(header[..8], flat);
    for (record, line) in csv.records().map(Result::unwrap).zip(&truth) {
        assert_eq!(record[2], *line["own"].as_str().unwrap());
        assert_eq!(record[3], *line["label"].as_str().unwrap());
        assert_eq!(record[5].parse::<f64>().unwrap(), line["probabilities"]["A"].as_f64().unwrap());
        assert_eq!(record[7], line["embedding"].to_string());
    }

    let reader = SerializedFileReader::new(fs::File::open(path("parquet")).unwrap()).unwrap();
    let metadata = reader.metadata().file_metadata().key_value_metadata().unwrap();
    let job = metadata.iter().find(|kv| kv.key == "kiln.job").unwrap().value.as_ref().unwrap();
    assert_eq!(serde_json::from_str::<Identity>(job).unwrap(), identity("m", Shard::ALL));
    let rows: Vec<Value> = reader
        .get_row_iter(None)
        .unwrap()
        .map(|row| row.unwrap().get_column_iter().map(|(name, field)| (name.clone(), read(field))).collect())
        .collect();
    assert_eq!(rows.len(), 20);
    for (row, line) in rows.iter().zip(&truth) {
        for key in ["index", "input", "own", "label", "score", "embedding", "length", "long"] {
            assert_eq!(row[key], line[key], "{key}");
        }
        assert_eq!(row["probabilities.a"], line["probabilities"]["a"]);
        assert_eq!(row["spans"], line["spans"].to_string());
    }

    let db = rusqlite::Connection::open(path("db")).unwrap();
    let mut rows = db
        .prepare("SELECT label, \"probabilities.a_2\", long, embedding FROM predictions ORDER BY \"index\"")
        .unwrap();
    let rows: Vec<(String, f64, bool, String)> = rows
        .query_map([], |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?, row.get(3)?)))
        .unwrap()
        .map(Result::unwrap)
        .collect();
    assert_eq!(rows.len(), 20);
    for ((label, a, long, embedding), line) in rows.iter().zip(&truth) {
        assert_eq!(line["label"], **label);
        assert_eq!(line["probabilities"]["a"], *a);
        assert_eq!(line["long"], *long);
        assert_eq!(line["embedding"].to_string(), *embedding);
    }
    let model: String = db.query_row("SELECT value FROM job WHERE key = 'model'", [], |r| r.get(0)).unwrap();
    assert_eq!(model, "m");
}

#[test]
fn names_that_clash_and_answers_too_wide_are_refused_before_anything_is_kept() {
    let folder = tempfile::tempdir().unwrap();
    for name in ["label", "index", "error"] {
        let output = folder.path().join(format!("{name}.jsonl"));
        let identity = Identity { keep: vec![("id".into(), name.into())], ..identity("m", Shard::ALL) };
        let error = run(&output, identity, Start::New, usize::MAX).unwrap_err();
        assert!(matches!(&error, BatchError::Name { name: clash } if clash == name), "{error}");
        assert_eq!(error.hint().unwrap(), format!("give it another name: --keep {name}=true_{name}"));
    }
    let output = folder.path().join("label.jsonl");
    all(&output, Start::New).expect("the refused job left nothing behind that another one meets");
    let output = folder.path().join("wide.db");
    let mut ask = |inputs: Vec<Input>| {
        let wide = (0..2001).map(|k| (format!("c{k}"), json!(k))).collect::<Map<_, _>>();
        let one = |input: Input| Answer::Prediction(Prediction { input: input.name, answer: wide.clone() });
        Ok(inputs.into_iter().map(one).collect())
    };
    let job = Job { output: &output, identity: identity("m", Shard::ALL), window: WINDOW, start: Start::New };
    let error = job.run(rows(), &mut ask, &mut |_| true).unwrap_err();
    assert!(matches!(error, BatchError::Wide { got: 2004, most: 2000, .. }), "{error}");
}
