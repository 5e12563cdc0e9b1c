//! One file a verb: its arguments and one function that makes one library call.

pub(crate) mod bench;
pub(crate) mod check;
pub(crate) mod config;
pub(crate) mod data;
pub(crate) mod doctor;
pub(crate) mod eval;
pub(crate) mod export;
pub(crate) mod generation;
pub(crate) mod hub;
pub(crate) mod init;
pub(crate) mod lr_find;
pub(crate) mod models;
pub(crate) mod parity;
pub(crate) mod predict;
pub(crate) mod replay;
pub(crate) mod runs;
pub(crate) mod selftest;
pub(crate) mod serve;
pub(crate) mod train;
pub(crate) mod tta;
pub(crate) mod verify;
