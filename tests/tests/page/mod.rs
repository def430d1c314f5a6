//! Whether `docs/coming-from.md` shows exactly the code that a test program compiles.

const PAGE: &str = include_str!("../../../docs/coming-from.md");

/// Compares the Rust blocks of a chapter of the page with the pieces between `// [name]` and
/// `// [end]` of a program: each piece is shown, and nothing is shown that is no piece.
pub(crate) fn check(chapter: &str, program: &str) {
    let shown = blocks(chapter);
    let pieces = pieces(program);
    for (name, piece) in &pieces {
        assert!(
            shown.contains(piece),
            "[{name}] is not shown, or not so:\n{piece}"
        );
    }
    for block in &shown {
        let is_piece = pieces.iter().any(|(_, piece)| piece == block);
        assert!(is_piece, "shown and not compiled:\n{block}");
    }
    assert!(!shown.is_empty());
}

/// The Rust blocks of the chapter of this name.
fn blocks(chapter: &str) -> Vec<String> {
    let heading = format!("## {chapter}\n");
    let (_, text) = PAGE.split_once(&heading).expect("the chapter is there");
    let text = text.split("\n## ").next().unwrap_or(text);
    let begun = text.split("```rust\n").skip(1);
    let ended = begun.map(|rest| rest.split_once("```").expect("every block ends").0);
    ended.map(String::from).collect()
}

/// The named pieces, each moved to the left margin.
fn pieces(program: &str) -> Vec<(String, String)> {
    let mut pieces: Vec<(String, String)> = Vec::new();
    let mut margin = None;
    for line in program.lines() {
        let code = line.trim_start();
        let name = code
            .strip_prefix("// [")
            .and_then(|rest| rest.strip_suffix(']'));
        match (name, margin) {
            (Some("end"), _) => margin = None,
            (Some(name), _) => {
                margin = Some(line.len() - code.len());
                pieces.push((name.to_owned(), String::new()));
            }
            (None, Some(margin)) => {
                let piece = &mut pieces.last_mut().expect("a margin has a piece").1;
                piece.push_str(line.get(margin..).unwrap_or_default());
                piece.push('\n');
            }
            (None, None) => {}
        }
    }
    pieces
}
