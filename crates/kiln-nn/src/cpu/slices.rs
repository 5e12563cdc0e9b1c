//! Between Burn flex's tensors and the slices that kernels see.
//! Owns how memory for an answer is made and how work is cut for the threads; never arithmetic. Kernels call it.

use std::cell::Cell;

use burn::tensor::{DType, Shape};
use burn_flex::{FlexTensor, Layout};

/// Elements a thread takes at once of elementwise work: 64 KiB, which stays in the cache of a core.
pub(crate) const CHUNK: usize = 1 << 14;

/// The sizes of a tensor.
pub(crate) fn dims(x: &FlexTensor) -> Vec<usize> {
    x.layout().shape().iter().copied().collect()
}

/// The values in row-major order: the tensor itself where it lies so, else a copy.
pub(crate) fn contiguous(x: FlexTensor) -> FlexTensor {
    match x.as_slice::<f32>().is_some() {
        true => x,
        false => x.to_contiguous(),
    }
}

/// The values of a tensor that [`contiguous`] has seen.
pub(crate) fn values(x: &FlexTensor) -> &[f32] {
    x.as_slice::<f32>().unwrap_or_default()
}

/// A tensor from values in row-major order.
pub(crate) fn tensor(values: Vec<f32>, dims: &[usize]) -> FlexTensor {
    let bytes = burn::tensor::Bytes::from_elems(values);
    FlexTensor::new(bytes, Layout::contiguous(Shape::from(dims.to_vec())), DType::F32)
}

/// Numbers of which every bit pattern is one.
pub(crate) trait Plain: Copy {}

impl Plain for f32 {}

impl Plain for u32 {}

/// A vector of `n` numbers that the caller writes before it reads any.
pub(crate) fn unwritten<T: Plain>(n: usize) -> Vec<T> {
    let mut values = Vec::with_capacity(n);
    // SAFETY: the capacity is there, every bit pattern is a number, and each caller overwrites all of it. Zeroing first
    // would cost a pass over memory for every answer.
    #[allow(clippy::uninit_vec)]
    unsafe {
        values.set_len(n);
    }
    values
}

/// Lends `n` values of the thread's own, which hold what the last borrower left. Not for work that other threads may
/// take part in: a thread that waits may be given a second piece.
pub(crate) fn scratch<T>(n: usize, f: impl FnOnce(&mut [f32]) -> T) -> T {
    thread_local! {
        static ROOM: Cell<Vec<f32>> = const { Cell::new(Vec::new()) };
    }
    let mut room = ROOM.take();
    if room.len() < n {
        room = vec![0.0; n];
    }
    let answer = f(&mut room[..n]);
    ROOM.set(room);
    answer
}

/// A pointer that threads share to write places that do not overlap.
#[derive(Clone, Copy)]
pub(crate) struct Shared(*mut f32);

// SAFETY: whoever calls `slice` promises disjoint places.
unsafe impl Send for Shared {}
// SAFETY: as above.
unsafe impl Sync for Shared {}

impl Shared {
    pub(crate) fn new(values: &mut [f32]) -> Self {
        Self::from(values.as_mut_ptr())
    }

    pub(crate) fn from(at: *mut f32) -> Self {
        Self(at)
    }

    pub(crate) fn at(self, offset: usize) -> *mut f32 {
        self.0.wrapping_add(offset)
    }

    /// # Safety
    /// The place lies within the slice, and no other thread reads or writes it at the same time.
    #[allow(clippy::mut_from_ref)]
    pub(crate) unsafe fn slice<'a>(self, offset: usize, len: usize) -> &'a mut [f32] {
        // SAFETY: the caller's promise.
        unsafe { std::slice::from_raw_parts_mut(self.at(offset), len) }
    }
}
