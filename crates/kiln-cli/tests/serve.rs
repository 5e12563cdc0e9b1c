//! `kiln serve` as clients see it: both protocols, every kind of input, and what is refused.

#![allow(clippy::expect_used, clippy::panic, clippy::unwrap_used)] // helpers of tests are tests too

mod support;

use std::path::{Path, PathBuf};
use std::sync::OnceLock;

use serde_json::{Value, json};
use support::server::Server;
use support::{Said, bmp, kiln, reviews, texts, tokenizer, write};

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
        let trained = |config: &Path| Said::by(kiln().arg("train").arg(config)).expect(0, &[]).run();
        let text = trained(&texts(&at("text"), &reviews(40), 5));
        let image = trained(&support::images(&at("image"), &["cat", "dog"], 10));
        let table = trained(&support::prices(&at("table")));
        Models { text, image, table, _folder: folder }
    })
}

fn named(name: &str, run: &Path) -> String {
    format!("{name}={}", run.display())
}

/// What `kiln predict` says of each input.
fn predicted(run: &Path, inputs: &[&str]) -> Vec<Value> {
    let said = Said::by(kiln().arg("predict").arg(run).args(inputs).args(["--device", "cpu"])).expect(0, &[]);
    said.out.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

/// The same label, probabilities within 1e-5: a batch of another size may add in another order.
#[track_caller]
fn same(got: &Value, expected: &Value) {
    assert_eq!(got["label"], expected["label"], "{got} {expected}");
    let p = |value: &Value| {
        let all = value["probabilities"].as_object().unwrap();
        all.values().map(|p| p.as_f64().unwrap()).collect::<Vec<_>>()
    };
    let (got, expected) = (p(got), p(expected));
    assert_eq!(got.len(), expected.len());
    assert!(got.iter().zip(&expected).all(|(a, b)| (a - b).abs() < 1e-5), "{got:?} {expected:?}");
}

fn infer(server: &Server, path: &str, request: &Value) -> support::server::Reply {
    server.post(path, "application/json", request.to_string())
}

#[test]
fn texts_are_answered_as_by_predict_in_both_protocols() {
    let run = &models().text;
    let server = Server::start([named("m", run)]);
    let words = ["w0 w1", "w4 w2 w3", "unheard of"];
    let expected = predicted(run, &words);

    let reply = server.post("/v1/models/m/predict", "text/plain", words[0]).answered();
    assert_eq!((&reply["model_name"], &reply["model_version"]), (&json!("m"), &json!("1")));
    same(&reply["predictions"][0], &expected[0]);
    for body in [
        json!({"text": words}),
        json!({"inputs": words}),
        json!(words),
        json!([{"review": words[0]}, {"text": words[1]}, words[2]]),
    ] {
        let reply = infer(&server, "/v1/models/m/versions/1/predict", &body).answered();
        let predictions = reply["predictions"].as_array().unwrap();
        assert_eq!(predictions.len(), 3, "{body}");
        predictions.iter().zip(&expected).for_each(|(got, expected)| same(got, expected));
    }

    for shape in [json!([3]), json!([3, 1])] {
        let input = json!({"name": "text", "datatype": "BYTES", "shape": shape, "data": words});
        let reply = infer(&server, "/v2/models/m/infer", &json!({"id": "7", "inputs": [input]})).answered();
        assert_eq!((&reply["id"], &reply["model_name"]), (&json!("7"), &json!("m")));
        let output = |i: usize, name: &str, datatype: &str, shape: Value| {
            let output = &reply["outputs"][i];
            assert_eq!(
                (&output["name"], &output["datatype"], &output["shape"]),
                (&json!(name), &json!(datatype), &shape)
            );
            output["data"].as_array().unwrap().clone()
        };
        let labels = output(0, "label", "BYTES", json!([3]));
        let scores = output(1, "score", "FP32", json!([3]));
        let all = output(2, "probabilities", "FP32", json!([3, 2]));
        for (i, expected) in expected.iter().enumerate() {
            let p = json!({"0": all[2 * i], "1": all[2 * i + 1]});
            same(&json!({"label": labels[i], "probabilities": p}), expected);
            let (best, score) = (
                all[2 * i].as_f64().unwrap().max(all[2 * i + 1].as_f64().unwrap()),
                scores[i].as_f64().unwrap(),
            );
            assert_eq!(best, score);
        }
    }
}

#[test]
fn tensors_travel_as_bytes_too() {
    let run = &models().text;
    let server = Server::start([named("m", run)]);
    let expected = predicted(run, &["w0 w1", "w3"]);
    let elements: Vec<u8> = ["w0 w1", "w3"]
        .iter()
        .flat_map(|text| [&(text.len() as u32).to_le_bytes()[..], text.as_bytes()].concat())
        .collect();
    let head = json!({
        "inputs": [{"name": "text", "datatype": "BYTES", "shape": [2], "parameters": {"binary_data_size": elements.len()}}],
        "outputs": [{"name": "probabilities", "parameters": {"binary_data": true}}, {"name": "label"}],
    })
    .to_string();
    let length = head.len().to_string();
    let body = [head.as_bytes(), &elements].concat();
    let reply = server.send(
        "POST",
        "/v2/models/m/versions/1/infer",
        &[("Inference-Header-Content-Length", &length)],
        &body,
    );
    assert_eq!(reply.headers["content-type"], "application/octet-stream");
    let json_length: usize = reply.headers["inference-header-content-length"].parse().unwrap();
    let header: Value = serde_json::from_slice(&reply.body[..json_length]).unwrap();
    assert_eq!(header["outputs"][0]["parameters"]["binary_data_size"], 16);
    assert_eq!(header["outputs"][1]["data"], json!([expected[0]["label"], expected[1]["label"]]));
    let floats =
        reply.body[json_length..].as_chunks::<4>().0.iter().map(|four| f64::from(f32::from_le_bytes(*four)));
    let got: Vec<f64> = floats.collect();
    for (i, expected) in expected.iter().enumerate() {
        let p = json!({"0": got[2 * i], "1": got[2 * i + 1]});
        same(&json!({"label": expected["label"], "probabilities": p}), expected);
    }
}

#[test]
fn images_come_as_bytes_base64_and_files_of_a_form() {
    use base64::Engine;
    let run = &models().image;
    let server = Server::start([named("m", run)]);
    let folder = tempfile::tempdir().unwrap();
    let file = bmp(8, 8, [40, 9, 128]);
    let path = write(folder.path(), "a.bmp", &file);
    let expected = predicted(run, &[path.to_str().unwrap()]);
    let base64 = base64::engine::general_purpose::STANDARD.encode(&file);

    let first = |reply: support::server::Reply| reply.answered()["predictions"][0].clone();
    same(&first(server.post("/v1/models/m/predict", "image/bmp", &file)), &expected[0]);
    same(&first(infer(&server, "/v1/models/m/predict", &json!({"image": base64}))), &expected[0]);
    let mut form =
        b"--x\r\ncontent-disposition: form-data; name=\"file\"; filename=\"a.bmp\"\r\n\r\n".to_vec();
    form.extend(&file);
    form.extend(b"\r\n--x--\r\n");
    same(&first(server.post("/v1/models/m/predict", "multipart/form-data; boundary=x", &form)), &expected[0]);
    let input = json!({"name": "image", "datatype": "BYTES", "shape": [1], "data": [base64]});
    let reply = infer(&server, "/v2/models/m/infer", &json!({"inputs": [input]})).answered();
    assert_eq!(reply["outputs"][0]["data"][0], expected[0]["label"]);

    let said = server.post("/v1/models/m/predict", "text/plain", "cat").refused(400);
    assert!(said.contains("expected an image") && said.ends_with("got a text"), "{said}");
    let said = server.post("/v1/models/m/predict", "image/png", &file[..20]).refused(400);
    assert!(said.starts_with("input 1: expected a whole image"), "{said}");
    // A header that promises 3 gigapixels is all that is read of the file.
    let said = server.post("/v1/models/m/predict", "image/bmp", bmp_head(60_000, 50_000)).refused(400);
    assert!(said.contains("at most 50000000 pixels, got 60000x50000"), "{said}");
}

/// The first 54 bytes of a BMP of any size.
fn bmp_head(width: u32, height: u32) -> Vec<u8> {
    let mut file = bmp(1, 1, [0; 3]);
    file[18..22].copy_from_slice(&width.to_le_bytes());
    file[22..26].copy_from_slice(&height.to_le_bytes());
    file
}

#[test]
fn rows_come_by_column_or_gathered() {
    let run = &models().table;
    let server = Server::start([named("m", run)]);
    let folder = tempfile::tempdir().unwrap();
    let table = write(folder.path(), "rows.csv", "length,width,colour\n4,2,red\n9,1,blue\n");
    let expected: Vec<f64> = predicted(run, &[table.to_str().unwrap()])
        .iter()
        .map(|line| line["values"]["price"].as_f64().unwrap())
        .collect();
    let close = |got: Vec<f64>| {
        assert!(got.iter().zip(&expected).all(|(a, b)| (a - b).abs() < 1e-3), "{got:?} {expected:?}");
        assert_eq!(got.len(), 2);
    };
    let rows =
        json!([{"length": 4, "width": 2, "colour": "red"}, {"numbers": [9, 1], "categories": ["blue"]}]);
    let reply = infer(&server, "/v1/models/m/predict", &rows).answered();
    close(
        reply["predictions"]
            .as_array()
            .unwrap()
            .iter()
            .map(|p| p["values"]["price"].as_f64().unwrap())
            .collect(),
    );
    let of = |inputs: Value| {
        let reply = infer(&server, "/v2/models/m/infer", &json!({"inputs": inputs})).answered();
        assert_eq!(reply["outputs"][0]["shape"], json!([2, 1]));
        reply["outputs"][0]["data"]
            .as_array()
            .unwrap()
            .iter()
            .map(|x| x.as_f64().unwrap())
            .collect::<Vec<_>>()
    };
    let colour = json!({"name": "colour", "datatype": "BYTES", "shape": [2], "data": ["red", "blue"]});
    let length = json!({"name": "length", "datatype": "FP32", "shape": [2, 1], "data": [[4], [9]]});
    let width = json!({"name": "width", "datatype": "FP32", "shape": [2], "data": [2, 1]});
    close(of(json!([width, colour, length])));
    let numbers = json!({"name": "numbers", "datatype": "FP32", "shape": [2, 2], "data": [4, 2, 9, 1]});
    let categories =
        json!({"name": "categories", "datatype": "BYTES", "shape": [2, 1], "data": ["red", "blue"]});
    close(of(json!([numbers, categories])));

    let said = infer(&server, "/v1/models/m/predict", &json!({"length": 1, "colour": "red"})).refused(400);
    assert!(said.contains("expected the key \"width\", got length, colour"), "{said}");
    let numbers = json!({"name": "numbers", "datatype": "FP32", "shape": [1, 3], "data": [4, 2, 9]});
    let said = infer(&server, "/v2/models/m/infer", &json!({"inputs": [numbers]})).refused(400);
    assert_eq!(said, "input \"numbers\": expected shape [n, 2], got [1, 3]");
    let numbers = json!({"name": "numbers", "datatype": "INT64", "shape": [1, 2], "data": [4, 2]});
    let said = infer(&server, "/v2/models/m/infer", &json!({"inputs": [numbers]})).refused(400);
    assert_eq!(said, "input \"numbers\": expected datatype FP32, got INT64");
}

#[test]
fn metadata_health_and_lists_say_what_there_is() {
    let models = models();
    let server =
        Server::start([named("m", &models.text), named("m@3", &models.image), named("t", &models.table)]);
    assert_eq!(server.get("/v2/health/live").status, 200);
    assert_eq!(server.get("/v2/health/ready").status, 200);
    for path in ["/v2", "/v2/"] {
        let reply = server.get(path).answered();
        assert_eq!(reply["name"], "kiln");
        assert_eq!(reply["extensions"][0], "binary_tensor_data");
    }
    let reply = server.get("/v2/models/m").answered();
    assert_eq!(
        (&reply["name"], &reply["versions"], &reply["platform"]),
        (&json!("m"), &json!(["1", "3"]), &json!("kiln"))
    );
    let image = json!({"name": "image", "datatype": "BYTES", "shape": [-1]});
    assert_eq!(reply["inputs"][0], image, "the highest version");
    // A client that was generated from the published file sends its `$` with both.
    let reply = server.get("/v2/models/$m/versions/$1").answered();
    assert_eq!(reply["inputs"][0]["name"], "text");
    assert_eq!(reply["outputs"][2], json!({"name": "probabilities", "datatype": "FP32", "shape": [-1, 2]}));
    assert_eq!(server.get("/v2/models/m/versions/1/ready").status, 200);
    assert_eq!(server.get("/v2/models/t/ready").status, 200);
    let index = server.post("/v2/repository/index", "application/json", "{}").answered();
    assert_eq!(index.as_array().unwrap().len(), 3);
    let list = server.get("/v1/models").answered();
    assert_eq!(
        list["models"][2]["input"],
        json!({"kind": "row", "numbers": ["length", "width"], "categories": ["colour"]})
    );
    assert!(server.get("/").text().contains("<title>kiln serve</title>"));

    let said = server.get("/v2/models/x").refused(404);
    assert_eq!(said, "no model \"x\"; there is m, t");
    let said = server.get("/v2/models/m/versions/2").refused(404);
    assert_eq!(said, "model \"m\" has no such version; it has 1, 3");
    server.get("/v3").refused(404);
    server.get("/v2/models/m/infer").refused(405);
    server.get("/v2/models/%FF").refused(400);
}

#[test]
fn every_wrong_tensor_is_refused_with_what_was_expected() {
    let server = Server::start([named("m", &models().text)]);
    let text = |datatype: &str, shape: Value, data: Value| json!({"name": "text", "datatype": datatype, "shape": shape, "data": data});
    let good = || text("BYTES", json!([1]), json!(["w0"]));
    let cases = [
        (json!({"inputs": [text("FP32", json!([1]), json!([1]))]}), "expected datatype BYTES, got FP32"),
        (
            json!({"inputs": [text("BYTES", json!([1, 2]), json!(["a", "b"]))]}),
            "expected shape [n] or [n, 1], got [1, 2]",
        ),
        (
            json!({"inputs": [text("BYTES", json!([2]), json!(["a"]))]}),
            "expected 2 elements by its shape [2], got 1",
        ),
        (json!({"inputs": [text("BYTES", json!([1]), json!([1]))]}), "expected strings, got 1 numbers"),
        (json!({"inputs": [text("BYTES", json!([u64::MAX, 1]), json!(["a"]))]}), "elements by its shape"),
        (json!({"inputs": [text("BYTES", json!([-1]), json!(["a"]))]}), "invalid value"),
        (json!({"inputs": [text("BYTES", json!([0]), json!([]))]}), "expected 1 to 256 inputs, got 0"),
        (json!({"inputs": []}), "expected an input \"text\""),
        (json!({"inputs": [good(), good()]}), "or it stands twice"),
        (
            json!({"inputs": [good(), {"name": "x", "datatype": "FP32", "shape": [1], "data": [1]}]}),
            "has no input \"x\"",
        ),
        (
            json!({"inputs": [{"name": "text", "datatype": "BYTES", "shape": [1]}]}),
            "expected `data`, or `binary_data_size` and bytes, got neither",
        ),
        (
            json!({"inputs": [{"name": "text", "datatype": "BYTES", "shape": [1], "parameters": {"binary_data_size": 9}}]}),
            "binary_data_size of at most 0, got 9",
        ),
        (
            json!({"inputs": [{"name": "text", "datatype": "BYTES", "shape": [1], "parameters": {"shared_memory_region": "a"}}]}),
            "expected its data in the request",
        ),
        (
            json!({"inputs": [good()], "outputs": [{"name": "loss"}]}),
            "there are label, score, probabilities, logits",
        ),
        (
            json!({"inputs": [good()], "outputs": [{"name": "label", "parameters": {"classification": 2}}]}),
            "is not offered",
        ),
        (json!({"inputs": [good()], "parameters": {"timeout": "soon"}}), "expected microseconds"),
        (
            json!({"inputs": [good()], "parameters": {"binary_data_output": 1}}),
            "expected true or false, got 1",
        ),
    ];
    for (request, expected) in cases {
        let said = infer(&server, "/v2/models/m/infer", &request).refused(400);
        assert!(said.contains(expected), "expected {expected:?} in {said:?}");
    }
    let said = server
        .send("POST", "/v2/models/m/infer", &[("inference-header-content-length", "99")], b"{}")
        .refused(400);
    assert!(said.contains("at most 2"), "{said}");
    let said = server.post("/v2/models/m/infer", "application/json", b"{\"inputs\":[]}\xFF").refused(400);
    assert!(said.contains("inference request"), "{said}");
}

#[test]
fn a_folder_that_cannot_be_served_says_why() {
    let models = models();
    let folder = tempfile::tempdir().unwrap();
    let bare = folder.path().join("bare");
    std::fs::create_dir(&bare).unwrap();
    for file in ["config.json", "model.safetensors"] {
        std::fs::copy(models.image.join("model").join(file), bare.join(file)).unwrap();
    }
    let serve = |words: &[&str]| Said::by(kiln().arg("serve").args(words).args(["--device", "cpu"]));
    serve(&[bare.to_str().unwrap()])
        .expect(4, &["model bare, version 1", "preprocessor_config.json", "hint: "]);
    serve(&["/nowhere"]).expect(4, &["/nowhere", "there is nothing here"]);
    let text = models.text.display();
    serve(&[&format!("m={text}"), &format!("m@1={text}")]).expect(2, &["model m, version 1 stands twice"]);
    serve(&[&format!("../m={text}")]).expect(2, &["model name \"../m\""]);
    serve(&[&format!("m@0={text}")]).expect(2, &["expected a version from 1"]);
    serve(&[&format!("m={text}"), "--address", "0.0.0.0:0"]).expect(2, &["there is no token", "--insecure"]);
    serve(&[&format!("m={text}"), "--tls-cert", "/nowhere", "--tls-key", "/nowhere"])
        .expect(4, &["/nowhere: expected certificates"]);
    // A tokenizer of more words than the model has embeddings for.
    let other = folder.path().join("other");
    std::fs::create_dir(&other).unwrap();
    for entry in std::fs::read_dir(models.text.join("model")).unwrap() {
        let path = entry.unwrap().path();
        std::fs::copy(&path, other.join(path.file_name().unwrap())).unwrap();
    }
    tokenizer(&other.join("tokenizer.json"), 50);
    serve(&[other.to_str().unwrap()]).expect(4, &["model other", "tokenizer.json"]);
}

#[test]
fn numbered_subfolders_are_versions() {
    let models = models();
    let folder = tempfile::tempdir().unwrap();
    for (version, run) in [("1", &models.text), ("12", &models.image)] {
        std::os::unix::fs::symlink(run, folder.path().join(version)).unwrap();
    }
    let server = Server::start([named("m", folder.path())]);
    assert_eq!(server.get("/v2/models/m").answered()["versions"], json!(["1", "12"]));
    assert_eq!(server.get("/v2/models/m/versions/1").answered()["inputs"][0]["name"], "text");
}
