//! `kiln doctor` through the real binary: the page for people, the object for machines, and devices that are not there.

mod support;

use serde_json::Value;
use support::{Said, kiln};

#[test]
fn every_device_is_listed_and_computes() {
    let said = Said::by(kiln().args(["doctor", "--json"])).expect(0, &[]);
    let page: Value = serde_json::from_str(&said.out).expect("one JSON object");
    assert_eq!(page["version"], env!("CARGO_PKG_VERSION"));
    let cpu = page["devices"].as_array().and_then(|d| d.iter().find(|d| d["name"] == "cpu"));
    let cpu = cpu.expect("the processor is always a device");
    assert_eq!(cpu["ok"], true);
    assert!(cpu["max_abs_difference"].as_f64().is_some_and(|d| d < 1e-4), "{cpu}");
    assert!(page["features"].as_array().is_some_and(|f| f.contains(&"cpu".into())));
    let keeps = cfg!(any(feature = "cuda", feature = "metal", feature = "rocm", feature = "vulkan"));
    assert_eq!(page["kernels"].is_object(), keeps, "the processor's kernels are in the binary: {page}");
    for number in ["threads", "memory_total", "memory_available", "disk_available"] {
        assert!(page[number].as_u64().is_some_and(|n| n > 0), "{number}: {page}");
    }
}

#[test]
fn the_page_for_people_names_what_the_object_names() {
    let said = Said::by(kiln().arg("doctor")).expect(0, &[]);
    for word in ["features", "threads", "simd", "memory", "disk", "kernels", "cpu", "ok"] {
        assert!(said.out.contains(word), "{word} is not in: {}", said.out);
    }
}

#[test]
fn a_device_that_is_not_built_in_or_no_device_is_refused() {
    let folder = tempfile::tempdir().expect("a folder");
    let config = support::digits(folder.path(), "");
    let with = |device: &str| Said::by(kiln().arg("eval").arg(&config).args(["--device", device]));
    with("abacus").expect(2, &["abacus", "cuda:N"]);
    with("cuda:0,cuda:1").expect(2, &["one device a run for now"]);
    if !cfg!(feature = "cuda") {
        with("cuda:0").expect(3, &["built without `cuda`", "built in: ", "--features cuda"]);
    }
}
