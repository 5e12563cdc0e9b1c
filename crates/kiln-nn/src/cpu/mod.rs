//! The processor's forms of the ops: threads and vector instructions on the tensors of Burn flex.
//! Owns every `unsafe` block of kiln; never the choice of form (`ops/` has it).
//! `ops/` calls the kernels; they see contiguous slices of float32.

#![allow(unsafe_code)]

pub(crate) mod attention;
pub(crate) mod batch_norm;
pub(crate) mod clip;
pub(crate) mod columns;
pub(crate) mod conv;
pub(crate) mod elementwise;
pub(crate) mod gemm;
pub(crate) mod in_place;
pub(crate) mod kernel;
pub(crate) mod linear;
pub(crate) mod math;
pub(crate) mod plane;
pub(crate) mod pool;
pub(crate) mod simd;
pub(crate) mod slices;
pub(crate) mod sums;
pub(crate) mod weighted;
