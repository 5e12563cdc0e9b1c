//! Half precision, as `torch.autocast` does it: within a scope, matrix products, convolutions and attention round their
//! inputs, forward and backward; everything else stays float32, and so do the sums and answers of these.
//! Owns the scope; ops ask [`now`] when they are recorded, and their backward passes keep what they were told.
//! The training loop, the evaluator and the predictor open scopes.
//!
//! Difference from PyTorch: answers are not rounded a second time, and tensors between ops are float32.

use std::cell::Cell;

use burn::tensor::FloatDType;
pub use kiln_core::Precision;

thread_local! {
    static NOW: Cell<Precision> = const { Cell::new(Precision::F32) };
}

/// The precision of the innermost scope on this thread.
pub fn now() -> Precision {
    NOW.get()
}

/// Runs `f` in a precision.
pub fn within<T>(precision: Precision, f: impl FnOnce() -> T) -> T {
    struct Restore(Precision);
    impl Drop for Restore {
        fn drop(&mut self) {
            NOW.set(self.0);
        }
    }
    let _restore = Restore(NOW.replace(precision));
    f()
}

/// The type that the plain form of an op casts its inputs to; `None` where it need not.
pub(crate) fn half(precision: Precision) -> Option<FloatDType> {
    match precision {
        Precision::F32 => None,
        Precision::Bf16 => Some(FloatDType::BF16),
        Precision::F16 => Some(FloatDType::F16),
    }
}
