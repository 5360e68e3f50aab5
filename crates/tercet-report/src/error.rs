//! What can go wrong while a report is made.

/// A report that could not be made.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The page could not be put together: a fault of this crate's templates.
    #[error("could not make the page from template `{template}`: {source}")]
    Template {
        /// Name of the template.
        template: &'static str,
        /// What the template engine says.
        source: minijinja::Error,
    },
}
