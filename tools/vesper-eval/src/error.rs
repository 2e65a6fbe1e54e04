// SPDX-License-Identifier: GPL-2.0

//! What can go wrong.

use std::io;
use std::path::PathBuf;

use thiserror::Error;

/// Shorthand.
pub type Result<T> = std::result::Result<T, Error>;

/// Why the program can't go on.
#[derive(Debug, Error)]
pub enum Error {
    /// A file can't be used.
    #[error("{}: {error}", path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// Why.
        error: io::Error,
    },
    /// A line of the raw events is none; remove it, its run is then done again.
    #[error("{}, line {line}: {error}; remove the run that the line is in", path.display())]
    Line {
        /// The file.
        path: PathBuf,
        /// Its number.
        line: usize,
        /// Why.
        error: serde_json::Error,
    },
    /// A plot can't be drawn.
    #[error("{}: {error}", path.display())]
    Plot {
        /// The file.
        path: PathBuf,
        /// Why.
        error: String,
    },
    /// The output is gone.
    #[error("output: {0}")]
    Output(#[from] io::Error),
    /// Nothing that could be written as JSON.
    #[error("results: {0}")]
    Json(#[from] serde_json::Error),
}
