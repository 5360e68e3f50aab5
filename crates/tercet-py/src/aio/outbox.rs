//! What a transport has been given and has not sent: pieces in order, of which the first may be sent in part.
//!
//! Bytes of Python are held and not copied, since they never change. Anything else is copied at once.

use pyo3::ffi;
use pyo3::prelude::*;
use pyo3::types::PyBytes;

/// How many pieces one call sends at most.
pub(super) const VECTOR: usize = 64;
/// An empty outbox keeps room for so many pieces.
const KEPT: usize = 16;

#[derive(Debug)]
pub(super) enum Piece {
    Held(Py<PyBytes>),
    Copied(Box<[u8]>),
}

impl Piece {
    /// The bytes: where they are and how many.
    fn span(&self) -> (*const u8, usize) {
        match self {
            // SAFETY: the piece owns the object, whose bytes never change or move.
            Self::Held(bytes) => unsafe {
                let bytes = bytes.as_ptr();
                (ffi::PyBytes_AsString(bytes).cast_const().cast(), ffi::Py_SIZE(bytes) as usize)
            },
            Self::Copied(bytes) => (bytes.as_ptr(), bytes.len()),
        }
    }
}

/// Pieces that are to be sent.
#[derive(Debug, Default)]
pub(super) struct Outbox {
    pieces: Vec<Piece>,
    /// So many pieces at the front are gone, and so much of the one after them.
    gone: usize,
    gone_of_first: usize,
    len: usize,
}

impl Outbox {
    /// How many bytes there are.
    pub(super) fn len(&self) -> usize {
        self.len
    }

    pub(super) fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// How many pieces there are.
    pub(super) fn pieces(&self) -> usize {
        self.pieces.len() - self.gone
    }

    /// Puts a piece at the end.
    pub(super) fn push(&mut self, piece: Piece) {
        self.len += piece.span().1;
        self.pieces.push(piece);
    }

    /// The first pieces, as the system takes them. They stay where they are as long as nothing is taken out.
    pub(super) fn vector(&self, vector: &mut [libc::iovec; VECTOR]) -> usize {
        let mut count = 0;
        for (place, piece) in vector.iter_mut().zip(&self.pieces[self.gone..]) {
            let (start, len) = piece.span();
            let skip = if count == 0 { self.gone_of_first } else { 0 };
            // SAFETY: less than the whole piece is gone.
            *place = libc::iovec { iov_base: unsafe { start.add(skip) }.cast_mut().cast(), iov_len: len - skip };
            count += 1;
        }
        count
    }

    /// Takes out so many bytes, and returns the pieces that are gone for good, for the caller to drop.
    #[must_use]
    pub(super) fn take(&mut self, mut sent: usize) -> Vec<Piece> {
        self.len -= sent;
        sent += self.gone_of_first;
        self.gone_of_first = 0;
        while self.gone < self.pieces.len() {
            let len = self.pieces[self.gone].span().1;
            if sent < len {
                self.gone_of_first = sent;
                break;
            }
            sent -= len;
            self.gone += 1;
        }
        if self.gone == self.pieces.len() {
            return self.clear();
        }
        // What is gone is dropped now and then, so that a long backlog is not moved for each piece.
        if self.gone >= VECTOR && self.gone * 2 > self.pieces.len() {
            return self.pieces.drain(..std::mem::take(&mut self.gone)).collect();
        }
        Vec::new()
    }

    /// Takes out everything, for the caller to drop.
    #[must_use]
    pub(super) fn clear(&mut self) -> Vec<Piece> {
        (self.gone, self.gone_of_first, self.len) = (0, 0, 0);
        std::mem::take(&mut self.pieces)
    }

    /// Takes back the room of pieces that have been dropped.
    pub(super) fn reuse(&mut self, mut pieces: Vec<Piece>) {
        if self.pieces.capacity() == 0 && pieces.is_empty() && pieces.capacity() <= KEPT {
            pieces.clear();
            self.pieces = pieces;
        }
    }
}
