//! The sources of the workspace, as the pages about its tests are checked against them.

use std::path::{Path, PathBuf};

/// Everything that stands in backquotes.
pub(crate) fn quoted(text: &str) -> impl Iterator<Item = &str> {
    text.split('`').skip(1).step_by(2)
}

pub(crate) fn workspace() -> PathBuf {
    let package = Path::new(env!("CARGO_MANIFEST_DIR"));
    package
        .parent()
        .expect("it lies in the workspace")
        .to_owned()
}

/// All programs of a folder, as text, without what the compiler has put there.
pub(crate) fn programs(folder: &Path) -> String {
    let mut text = String::new();
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            if !path.ends_with("target") {
                text += &programs(&path);
            }
        } else if path.extension().is_some_and(|kind| kind == "rs") {
            text += &std::fs::read_to_string(path).unwrap();
        }
    }
    text
}
