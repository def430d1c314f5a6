//! `peers`: who is there.

use anyhow::Result;

use crate::args::{Global, Peers};
use crate::end::End;
use crate::print;
use crate::roster::Row;
use crate::session::Session;

/// Prints the roster, this command left out.
///
/// # Errors
///
/// No hub, or nobody reads what is printed.
pub fn run(global: &Global, args: &Peers) -> Result<End> {
    let mut session = Session::join(global, &args.joining)?;
    session.board.ready();
    let complete = session.everybody_known()?;
    let own = session.board.id();
    let others = session.board.roster().peers();
    let rows: Vec<Row> = others
        .filter(|peer| Some(peer.id) != own)
        .map(Row::of)
        .collect();
    if !complete && !global.quiet {
        print::talk("the hub still waits for peers that it knew before; there may be more");
    }
    if global.json {
        for row in &rows {
            print::object(row)?;
        }
        return Ok(End::Done);
    }
    let head = ["NAME", "ID", "STATE", "HANDLES", "LISTENS TO"].map(String::from);
    let cells: Vec<[String; 5]> = std::iter::once(head)
        .chain(rows.iter().map(Row::cells))
        .collect();
    let width = |column: usize| {
        cells
            .iter()
            .map(|row| row[column].chars().count())
            .max()
            .unwrap_or(0)
    };
    let widths: Vec<usize> = (0..4).map(width).collect();
    for [name, id, state, handles, listens] in &cells {
        print::line(&format!(
            "{name:0$}  {id:1$}  {state:2$}  {handles:3$}  {listens}",
            widths[0], widths[1], widths[2], widths[3]
        ))?;
    }
    Ok(End::Done)
}
