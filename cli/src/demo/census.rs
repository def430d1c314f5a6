//! What a process holds: descriptors and children.

use std::fs;
use std::io;

use anyhow::{Context as _, Result};

/// A count of both.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Census {
    /// Open descriptors of this process.
    pub descriptors: usize,
    /// Children of this process that exist, be it as zombies.
    pub children: usize,
}

impl Census {
    /// Counts now.
    ///
    /// # Errors
    ///
    /// No `/proc`: a census that cannot count must not pass for one that found nothing.
    pub fn take() -> Result<Self> {
        let descriptors = fs::read_dir("/proc/self/fd").context("counting descriptors")?;
        Ok(Self {
            // One of them is the folder itself.
            descriptors: descriptors.count() - 1,
            children: children().context("counting child processes")?.len(),
        })
    }
}

/// The children of this process.
fn children() -> io::Result<Vec<u32>> {
    let own = std::process::id();
    let mut found = Vec::new();
    for entry in fs::read_dir("/proc")? {
        let name = entry?.file_name();
        let Some(pid) = name.to_str().and_then(|name| name.parse().ok()) else {
            continue;
        };
        // A process that has gone meanwhile is no child any more.
        let Ok(stat) = fs::read_to_string(format!("/proc/{pid}/stat")) else {
            continue;
        };
        if parent_of(&stat) == Some(own) {
            found.push(pid);
        }
    }
    Ok(found)
}

/// The fourth field of proc_pid_stat(5). The second one, the program's name, may hold anything, also
/// spaces and parentheses.
fn parent_of(stat: &str) -> Option<u32> {
    let (_, rest) = stat.rsplit_once(')')?;
    rest.split_ascii_whitespace().nth(1)?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_parent_is_read_whatever_the_program_is_called() {
        assert_eq!(parent_of("42 (a b) S) R 7 42 42 0"), Some(7));
        assert_eq!(parent_of("42"), None);
    }

    #[test]
    fn a_child_is_counted_until_it_is_reaped() {
        let mut child = std::process::Command::new("sleep")
            .arg("60")
            .spawn()
            .unwrap();
        assert!(children().unwrap().contains(&child.id()));
        child.kill().unwrap();
        child.wait().unwrap();
        assert!(!children().unwrap().contains(&child.id()));
    }
}
