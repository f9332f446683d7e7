//! Whether an output leads to systemd's journal, and how a line tells it its level.
//!
//! systemd names the socket that it connected in `JOURNAL_STREAM`, as `DEVICE:INODE`. Only an output that is this very
//! socket is the journal's: a process that was started with its output elsewhere inherits the variable all the same.

use std::ffi::OsStr;
use std::fs::File;
use std::os::fd::AsFd;
use std::os::unix::fs::MetadataExt as _;

use tracing::Level;

/// Whether `output` is the socket that `stream`, the value of `JOURNAL_STREAM`, names.
pub fn is_journal(stream: Option<&OsStr>, output: impl AsFd) -> bool {
    let named = stream.and_then(OsStr::to_str).and_then(|stream| stream.split_once(':'));
    let Some((Ok(device), Ok(inode))) = named.map(|(device, inode)| (device.parse(), inode.parse())) else {
        return false;
    };
    let copy = output.as_fd().try_clone_to_owned();
    let found = copy.and_then(|copy| File::from(copy).metadata());
    found.is_ok_and(|found| (found.dev(), found.ino()) == (device, inode))
}

/// What a line begins with, so that `journalctl -p warning` finds it: the journal takes it off again.
pub(super) const fn priority(level: Level) -> &'static str {
    match level {
        Level::ERROR => "<3>",
        Level::WARN => "<4>",
        Level::INFO => "<6>",
        Level::DEBUG | Level::TRACE => "<7>",
    }
}
