//! kiln-eval
