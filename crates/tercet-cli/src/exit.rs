//! The exit codes of `tercet`.

/// The exit codes of `tercet`, as named constants.
///
/// `tercet why` passes on the exit code of a program that it launched, and 128 plus the number of
/// the signal that ended it, unless it failed itself.
#[derive(Clone, Copy, Debug)]
pub enum ExitCode {}

impl ExitCode {
    /// Done; of a launched program: it ended with 0.
    pub const DONE: u8 = 0;
    /// Something failed that is not named below, such as writing the report.
    pub const FAILURE: u8 = 1;
    /// The words of the command line are wrong, or name a program that does not exist.
    pub const USAGE: u8 = 2;
    /// The process could not be watched.
    pub const COULD_NOT_ATTACH: u8 = 3;
    /// Too little was seen of a running process to decide anything.
    pub const TOO_FEW_SAMPLES: u8 = 4;
    /// Added to the number of a signal that ended the launched program.
    pub const SIGNAL: u8 = 128;
    /// Ctrl-C ended the launched program.
    pub const INTERRUPTED: u8 = 130;
}
