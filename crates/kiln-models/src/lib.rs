//! Model families, one file each: config to net; pretrained weights in, Hugging Face folders out.

pub mod config;
