//! What the terminal that shows the text can do.

/// What the terminal that shows the text can do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Style {
    /// Columns. No line is wider; below [`Style::NARROWEST`] that figure holds instead.
    pub width: usize,
    /// Whether to colour. Nothing is said by colour alone.
    pub colour: bool,
    /// Whether characters beyond ASCII can be shown.
    pub unicode: bool,
}

impl Style {
    /// The smallest number of columns the text is laid out for.
    pub const NARROWEST: usize = 40;

    /// The columns to lay out for.
    pub(crate) fn columns(&self) -> usize {
        self.width.max(Self::NARROWEST)
    }
}

impl Default for Style {
    /// Eighty columns, no colour, Unicode.
    fn default() -> Self {
        Self { width: 80, colour: false, unicode: true }
    }
}
