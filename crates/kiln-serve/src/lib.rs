//! A trained model answering: many inputs as a job that survives being killed, and requests as a server.
//! Owns jobs and requests; never how one batch is answered (kiln-eval) or how inputs are read (kiln-data).

pub mod batch;
