//! A verdict as text, JSON and HTML.
//!
//! Everything here is a pure function from a [`Report`] to a `String`: nothing prints, reads a file
//! or asks the environment. The command line decides where the string goes and what [`Style`] the
//! terminal has.
//!
//! Every path, function, thread name and command line comes from the watched program and may hold
//! anything: escape sequences, markup, ten thousand characters. All of it is made visible before it is
//! shown, so that no report can steer a terminal or a browser.
//!
//! The JSON object is a contract, kept in `docs/json.md`; text and HTML are for people and may
//! change at any time.

#![forbid(unsafe_code)]

mod error;
mod figure;
mod html;
mod json;
mod name;
mod place;
mod report;
mod style;
mod text;
mod words;

pub use error::Error;
pub use report::{Report, Subject};
pub use style::Style;
