//! `kiln serve` asked with prepared tensors, and by tables: the same answers as to what they were prepared from.

#![allow(clippy::expect_used, clippy::panic, clippy::unwrap_used)] // helpers of tests are tests too

mod support;

use std::path::{Path, PathBuf};
use std::sync::OnceLock;

use serde_json::{Value, json};
use support::server::{Reply, Server};
use support::{Said, bmp, kiln, reviews, texts, write};

/// Run folders of small models, trained once for the tests of this file.
struct Models {
    _folder: tempfile::TempDir,
    text: PathBuf,
    image: PathBuf,
    table: PathBuf,
}

fn models() -> &'static Models {
    static MODELS: OnceLock<Models> = OnceLock::new();
    MODELS.get_or_init(|| {
        let folder = tempfile::tempdir().unwrap();
        let at = |name: &str| folder.path().join(name);
        let trained = |config: PathBuf| Said::by(kiln().arg("train").arg(config)).expect(0, &[]).run();
        let text = trained(texts(&at("text"), &reviews(40), 5));
        let image = trained(support::images(&at("image"), &["cat", "dog"], 10));
        let table = trained(support::prices(&at("table")));
        Models { text, image, table, _folder: folder }
    })
}

fn server(run: &Path) -> Server {
    Server::start([format!("m={}", run.display())])
}

fn infer(server: &Server, inputs: Value) -> Reply {
    server.post("/v2/models/m/infer", "application/json", json!({"inputs": inputs}).to_string())
}

fn tensor(name: &str, datatype: &str, shape: Value, data: Value) -> Value {
    json!({"name": name, "datatype": datatype, "shape": shape, "data": data})
}

/// One output's elements, after a look at its type and shape.
#[track_caller]
fn output(reply: &Value, name: &str, shape: &Value) -> Vec<Value> {
    let output = reply["outputs"].as_array().unwrap().iter().find(|output| output["name"] == name).unwrap();
    assert_eq!(&output["shape"], shape, "{name}");
    output["data"].as_array().unwrap().clone()
}

fn numbers(list: &[Value]) -> Vec<f64> {
    list.iter().map(|x| x.as_f64().unwrap()).collect()
}

#[track_caller]
fn close(got: &[f64], expected: &[f64]) {
    assert_eq!(got.len(), expected.len());
    assert!(got.iter().zip(expected).all(|(a, b)| (a - b).abs() < 1e-5), "{got:?} {expected:?}");
}

#[test]
fn token_ids_are_answered_as_the_texts_they_are_of() {
    let server = server(&models().text);
    let text = tensor("text", "BYTES", json!([2]), json!(["w0 w1", "w4 w2 w3"]));
    let expected = infer(&server, json!([text])).answered();
    let logits = numbers(&output(&expected, "logits", &json!([2, 2])));
    let p = numbers(&output(&expected, "probabilities", &json!([2, 2])));
    let softmax = logits.as_chunks::<2>().0.iter().flat_map(|[a, b]| {
        let sum = a.exp() + b.exp();
        [a.exp() / sum, b.exp() / sum]
    });
    close(&softmax.collect::<Vec<_>>(), &p);

    // The vocabulary is [PAD], [UNK], w0, w1, ...
    let ids = json!([[2, 3, 0], [6, 4, 5]]);
    let mask = json!([[1, 1, 0], [1, 1, 1]]);
    let sequences = |name: &str, data: &Value| tensor(name, "INT64", json!([2, 3]), data.clone());
    let both = [sequences("input_ids", &ids), sequences("attention_mask", &mask)];
    let types = sequences("token_type_ids", &json!([[0, 0, 0], [0, 0, 0]]));
    for inputs in [json!(both), json!([both[1], types, both[0]])] {
        let reply = infer(&server, inputs).answered();
        close(&numbers(&output(&reply, "logits", &json!([2, 2]))), &logits);
        assert_eq!(output(&reply, "label", &json!([2])), output(&expected, "label", &json!([2])));
    }
    // Segments are read.
    let types = sequences("token_type_ids", &json!([[0, 1, 0], [1, 1, 1]]));
    let other = infer(&server, json!([both[0], both[1], types])).answered();
    let other = numbers(&output(&other, "logits", &json!([2, 2])));
    assert!(other.iter().zip(&logits).any(|(a, b)| (a - b).abs() > 1e-5), "{other:?}");

    // As bytes, and only what is asked for.
    let bytes: Vec<u8> =
        [2_i64, 3, 0, 6, 4, 5, 1, 1, 0, 1, 1, 1].iter().flat_map(|x| x.to_le_bytes()).collect();
    let binary = |name: &str| json!({"name": name, "datatype": "INT64", "shape": [2, 3], "parameters": {"binary_data_size": 48}});
    let head =
        json!({"inputs": [binary("input_ids"), binary("attention_mask")], "outputs": [{"name": "logits"}]})
            .to_string();
    let length = [("inference-header-content-length", head.len().to_string())];
    let length = length.each_ref().map(|(k, v)| (*k, v.as_str()));
    let body = [head.as_bytes(), &bytes].concat();
    let reply = server.send("POST", "/v2/models/m/infer", &length, &body).answered();
    assert_eq!(reply["outputs"].as_array().unwrap().len(), 1);
    close(&numbers(&output(&reply, "logits", &json!([2, 2]))), &logits);
}

#[test]
fn ids_that_the_net_cannot_read_are_refused_with_what_was_expected() {
    let server = server(&models().text);
    let ids = |shape: Value, data: Value| tensor("input_ids", "INT64", shape, data);
    let mask = |shape: Value, data: Value| tensor("attention_mask", "INT64", shape, data);
    let types = |shape: Value, data: Value| tensor("token_type_ids", "INT64", shape, data);
    let (good, ones) = (|| ids(json!([1, 2]), json!([2, 3])), || mask(json!([1, 2]), json!([1, 1])));
    let long = json!(vec![1; 17]);
    for (inputs, expected) in [
        (json!([good()]), "expected an input \"attention_mask\""),
        (json!([ids(json!([1, 2]), json!([2, 7])), ones()]), "numbers from 0 to 6, got 7 at [0, 1]"),
        (json!([ids(json!([1, 2]), json!([-1, 3])), ones()]), "numbers from 0 to 6, got -1 at [0, 0]"),
        (json!([ids(json!([1, 2]), json!([2.5, 3])), ones()]), "expected whole numbers, got 2.5"),
        (json!([ids(json!([2]), json!([2, 3])), ones()]), "shape [n, T] with T from 1 to 16, got [2]"),
        (
            json!([ids(json!([1, 17]), long.clone()), mask(json!([1, 17]), long)]),
            "T from 1 to 16, got [1, 17]",
        ),
        (json!([ids(json!([1, 0]), json!([])), ones()]), "T from 1 to 16, got [1, 0]"),
        (
            json!([ids(json!([u64::MAX, 2]), json!([2, 3])), ones()]),
            "T from 1 to 16, got [18446744073709551615, 2]",
        ),
        (
            json!([tensor("input_ids", "INT32", json!([1, 2]), json!([2, 3])), ones()]),
            "datatype INT64, got INT32",
        ),
        (
            json!([good(), mask(json!([2, 1]), json!([1, 1]))]),
            "expected shape [1, 2] as of \"input_ids\", got [2, 1]",
        ),
        (json!([good(), mask(json!([1, 2]), json!([0, 1]))]), "ones and then zeros (padding behind)"),
        (json!([good(), mask(json!([1, 2]), json!([0, 0]))]), "at least one 1, in each row; row 0 is [0, 0]"),
        (json!([good(), mask(json!([1, 2]), json!([1, 2]))]), "numbers from 0 to 1, got 2 at [0, 1]"),
        (
            json!([good(), ones(), types(json!([1, 2]), json!([0, 2]))]),
            "numbers from 0 to 1, got 2 at [0, 1]",
        ),
        (
            json!([good(), ones(), tensor("text", "BYTES", json!([1]), json!(["w0"]))]),
            "has no input \"text\" beside",
        ),
        (json!([ids(json!([1, 2]), json!(["a", "b"])), ones()]), "expected numbers, got 2 strings"),
    ] {
        let said = infer(&server, inputs).refused(400);
        assert!(said.contains(expected), "expected {expected:?} in {said:?}");
    }
    let listed = server.get("/v2/models/m").answered();
    let of = |name: &str| json!({"name": name, "datatype": "INT64", "shape": [-1, -1]});
    let text = json!({"name": "text", "datatype": "BYTES", "shape": [-1]});
    assert_eq!(listed["inputs"], json!([text, of("input_ids"), of("attention_mask"), of("token_type_ids")]));
    assert_eq!(listed["outputs"][3], json!({"name": "logits", "datatype": "FP32", "shape": [-1, 2]}));
}

#[test]
fn pixels_are_answered_as_the_image_they_are_of() {
    let run = &models().image;
    let server = server(run);
    let colour = [40, 9, 128];
    let expected = server.post("/v1/models/m/predict", "image/bmp", bmp(8, 8, colour)).answered();
    let folder = std::fs::read_to_string(run.join("model/preprocessor_config.json")).unwrap();
    let program: Value = serde_json::from_str(&folder).unwrap();
    let (mean, std) = (
        numbers(program["image_mean"].as_array().unwrap()),
        numbers(program["image_std"].as_array().unwrap()),
    );
    // The file's colours are blue, green, red.
    let channel = |c: usize| vec![(f64::from(colour[2 - c]) / 255.0 - mean[c]) / std[c]; 64];
    let pixels: Vec<f64> = (0..3).flat_map(channel).collect();
    let given = |shape: Value, data: &[f64]| json!([tensor("pixel_values", "FP32", shape, json!(data))]);
    let reply = infer(&server, given(json!([1, 3, 8, 8]), &pixels)).answered();
    assert_eq!(output(&reply, "label", &json!([1]))[0], expected["predictions"][0]["label"]);
    let p = expected["predictions"][0]["probabilities"].as_object().unwrap();
    let p: Vec<f64> = p.values().map(|p| p.as_f64().unwrap()).collect();
    close(&numbers(&output(&reply, "probabilities", &json!([1, 2]))), &p);

    let said = infer(&server, given(json!([1, 8, 8, 3]), &pixels)).refused(400);
    assert_eq!(said, "input \"pixel_values\": expected shape [n, 3, 8, 8], got [1, 8, 8, 3]");
    let head = json!({"inputs": [{"name": "pixel_values", "datatype": "FP32", "shape": [1, 3, 8, 8], "parameters": {"binary_data_size": 768}}]}).to_string();
    let body = [head.as_bytes(), &f32::NAN.to_le_bytes().repeat(192)].concat();
    let length = head.len().to_string();
    let said =
        server.send("POST", "/v2/models/m/infer", &[("inference-header-content-length", &length)], &body);
    assert_eq!(said.refused(400), "input \"pixel_values\": expected finite numbers, got NaN");
    let inputs = server.get("/v2/models/m").answered()["inputs"].clone();
    assert_eq!(inputs[1], json!({"name": "pixel_values", "datatype": "FP32", "shape": [-1, 3, 8, 8]}));
}

#[test]
fn logits_of_a_regression_are_in_the_units_of_training() {
    let run = &models().table;
    let server = server(run);
    let folder = std::fs::read_to_string(run.join("model/preprocessor_config.json")).unwrap();
    let program: Value = serde_json::from_str(&folder).unwrap();
    let scale = |key: &str| program["kiln_targets"][0][key].as_f64().unwrap();
    let inputs = json!([
        tensor("numbers", "FP32", json!([2, 2]), json!([4, 2, 9, 1])),
        tensor("categories", "BYTES", json!([2, 1]), json!(["red", "blue"]))
    ]);
    let reply = infer(&server, inputs).answered();
    let logits = numbers(&output(&reply, "logits", &json!([2, 1])));
    let values = numbers(&output(&reply, "values", &json!([2, 1])));
    let own: Vec<f64> = logits.iter().map(|x| x * scale("std") + scale("mean")).collect();
    assert!(own.iter().zip(&values).all(|(a, b)| (a - b).abs() < 1e-3), "{own:?} {values:?}");
    assert!((logits[0] - values[0]).abs() > 1.0, "{logits:?} {values:?}");
}

#[test]
fn tables_are_answered_row_by_row() {
    let models = models();
    let server = Server::start([
        format!("t={}", models.table.display()),
        format!("m={}", models.text.display()),
        format!("i={}", models.image.display()),
    ]);
    let ask =
        |model: &str, kind: &str, body: &str| server.post(&format!("/v1/models/{model}/predict"), kind, body);
    let rows = json!([{"length": 4, "width": 2, "colour": "red"}, {"length": 9, "width": 1, "colour": "deep, blue"}]);
    let expected = ask("t", "application/json", &rows.to_string()).answered()["predictions"].clone();
    let csv = "colour,other,width,length\r\nred,x,2,4\r\n\"deep, blue\",\"\",1,9\r\n";
    assert_eq!(ask("t", "text/csv; charset=utf-8", csv).answered()["predictions"], expected);
    let tsv = "colour\twidth\tlength\nred\t2\t4\ndeep, blue\t1\t9\n";
    assert_eq!(ask("t", "text/tab-separated-values", tsv).answered()["predictions"], expected);

    let texts = json!(["w0 w1", "w4"]).to_string();
    let expected = ask("m", "application/json", &texts).answered()["predictions"].clone();
    assert_eq!(ask("m", "text/csv", "stars,review\n1,w0 w1\n,w4\n").answered()["predictions"], expected);

    for (model, body, expected) in [
        ("t", "", "input:1: expected a first row, got an empty file"),
        ("t", "colour,width\nred,2\n", "input: no column \"length\""),
        ("t", "colour,width,length\nred,2\n", "input:2: expected 3 columns, as in the first row, got 2"),
        (
            "t",
            "colour,width,length\nred,2,4\nred,two,4\n",
            "input:3: expected a finite number in column 1, got \"two\"",
        ),
        ("t", "colour,width,length\n", "expected 1 to 256 inputs, got 0"),
        ("i", "file\na.png\n", "input: expected the bytes of an image, got a table"),
    ] {
        let said = ask(model, "text/csv", body).refused(400);
        assert!(said.contains(expected), "expected {expected:?} in {said:?}");
    }
    let many = format!("review\n{}", "w0\n".repeat(300));
    assert_eq!(ask("m", "text/csv", &many).refused(400), "expected 1 to 256 inputs, got 257");
}

#[test]
fn predictions_are_kept_in_a_table_that_others_read_meanwhile() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("predictions.db");
    let model = format!("m={}", models().text.display());
    let words = [model.as_str(), "--predictions", path.to_str().unwrap()];
    let mut server = Server::start(words);
    let reader = rusqlite::Connection::open(&path).unwrap();
    let mut answers = Vec::new();
    for i in 0..20 {
        let id = format!("mine-{i}");
        let headers = [("x-request-id", id.as_str()), ("content-type", "application/json")];
        let reply = server.send("POST", "/v1/models/m/predict", &headers, br#"["w0", "w1 w2"]"#).answered();
        answers.extend(reply["predictions"].as_array().unwrap().clone());
    }
    let count = || reader.query_row("SELECT count(*) FROM predictions", [], |row| row.get::<_, i64>(0));
    let start = std::time::Instant::now();
    while count().unwrap() < 40 {
        assert!(start.elapsed().as_secs() < 60, "{:?} rows", count());
    }
    let mut rows = reader
        .prepare(
            "SELECT request_id, \"index\", model, version, input, prediction FROM predictions ORDER BY id",
        )
        .unwrap();
    let own = rows.query_map([], |row| {
        let text = |i: usize| row.get::<_, String>(i);
        Ok((text(0)?, row.get::<_, i64>(1)?, text(2)?, text(3)?, text(4)?, text(5)?))
    });
    for (i, row) in own.unwrap().enumerate() {
        let (id, index, model, version, input, prediction) = row.unwrap();
        assert_eq!((id, index), (format!("mine-{}", i / 2), i as i64 % 2));
        assert_eq!((model.as_str(), version.as_str(), input.as_str()), ("m", "1", ["w0", "w1 w2"][i % 2]));
        assert_eq!(serde_json::from_str::<Value>(&prediction).unwrap(), answers[i]);
    }
    server.terminate();
    assert_eq!(server.wait().code(), Some(0));
    // It is appended to, and a file of something else is refused at the start.
    let server = Server::start(words);
    server.post("/v1/models/m/predict", "text/plain", "w3").answered();
    let start = std::time::Instant::now();
    while count().unwrap() < 41 {
        assert!(start.elapsed().as_secs() < 60, "{:?} rows", count());
    }
    let other = write(folder.path(), "other.db", "no database".repeat(100));
    Said::by(kiln().args(["serve", &model, "--predictions", other.to_str().unwrap()]))
        .expect(74, &["other.db: cannot keep predictions in it", "hint: "]);
}
