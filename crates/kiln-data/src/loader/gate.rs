//! A bound on bytes that are under way at once.
//! Owns the count; moves nothing. The threads pass through it before they decode, the loader before it orders a batch.

use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};

/// Lets bytes in while they fit; where nothing is inside, whatever comes fits.
#[derive(Debug, Clone)]
pub(crate) struct Gate(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    limit: u64,
    state: Mutex<State>,
    left: Condvar,
}

#[derive(Debug, Default, Clone, Copy)]
struct State {
    inside: u64,
    passes: usize,
    peak: u64,
}

/// Bytes inside until it is dropped.
#[derive(Debug)]
pub(crate) struct Pass {
    gate: Gate,
    bytes: u64,
}

impl Gate {
    pub(crate) fn new(limit: u64) -> Self {
        Self(Arc::new(Inner { limit, state: Mutex::default(), left: Condvar::new() }))
    }

    /// Waits until `bytes` fit. A thread must hold no pass of this gate when it waits for one.
    pub(crate) fn enter(&self, bytes: u64) -> Pass {
        let mut state = self.lock();
        while !self.fits(&state, bytes) {
            state = self.0.left.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
        self.admit(&mut state, bytes)
    }

    /// `None` where `bytes` do not fit now.
    pub(crate) fn try_enter(&self, bytes: u64) -> Option<Pass> {
        let mut state = self.lock();
        self.fits(&state, bytes).then(|| self.admit(&mut state, bytes))
    }

    /// Most bytes that were ever inside.
    pub(crate) fn peak(&self) -> u64 {
        self.lock().peak
    }

    fn fits(&self, state: &State, bytes: u64) -> bool {
        state.passes == 0 || state.inside.saturating_add(bytes) <= self.0.limit
    }

    fn admit(&self, state: &mut State, bytes: u64) -> Pass {
        state.inside = state.inside.saturating_add(bytes);
        state.passes += 1;
        state.peak = state.peak.max(state.inside);
        Pass { gate: self.clone(), bytes }
    }

    /// A thread that panicked has left the numbers whole.
    fn lock(&self) -> MutexGuard<'_, State> {
        self.0.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Pass {
    fn drop(&mut self) {
        let mut state = self.gate.lock();
        state.inside = state.inside.saturating_sub(self.bytes);
        state.passes -= 1;
        drop(state);
        self.gate.0.left.notify_all();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_too_large_goes_alone_and_the_rest_within_the_limit() {
        let gate = Gate::new(100);
        let (a, b) = (gate.try_enter(60).unwrap(), gate.try_enter(40).unwrap());
        assert!(gate.try_enter(1).is_none());
        drop(a);
        assert!(gate.try_enter(61).is_none());
        drop(b);
        let large = gate.try_enter(1000).unwrap();
        assert!(gate.try_enter(0).is_none());
        drop(large);
        assert_eq!(gate.peak(), 1000);
    }

    #[test]
    fn whoever_waits_comes_in_when_there_is_room() {
        let gate = Gate::new(100);
        std::thread::scope(|scope| {
            for i in 1..=40_u64 {
                let gate = gate.clone();
                scope.spawn(move || drop(gate.enter(i * 3)));
            }
        });
        assert!(gate.peak() <= 120 && gate.peak() > 0, "{}", gate.peak());
        assert!(gate.try_enter(100).is_some());
    }
}
