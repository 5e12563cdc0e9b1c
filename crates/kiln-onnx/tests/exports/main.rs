//! Every family with every head as ONNX: exported with weights that are a function of their names, and checked by tract.
//! Folders stay in `$KILN_PEER_OUT/onnx` for the peers (onnx.checker, onnxruntime).

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "tests stop at the first surprise"
)]

mod common;
mod families;
mod refused;
