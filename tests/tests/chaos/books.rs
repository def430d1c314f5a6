//! What was received and what was acknowledged, and whether the two agree.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::path::Path;

/// A message: the life of its sender, its receiver, and its number between the two.
type Message = (String, String, u64);

/// The books of all lives of all workers.
#[derive(Debug, Default)]
pub(crate) struct Books {
    /// By the life of the receiver, in the order of its book.
    received: BTreeMap<String, Vec<(String, u64)>>,
    acknowledged: Vec<Message>,
}

/// Reads every book in the folder. A last line without its end was not written whole, so what it
/// says was never answered.
pub(crate) fn read(folder: &Path) -> Books {
    let mut books = Books::default();
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_name().unwrap().to_str().unwrap();
        let Some((life, kind)) = name.split_once('.') else {
            panic!("no book: {name}")
        };
        let text = std::fs::read_to_string(&path).unwrap();
        let whole = text
            .split_inclusive('\n')
            .filter_map(|line| line.strip_suffix('\n'));
        let lines = whole.map(|line| {
            let (who, number) = line.split_once(' ').unwrap();
            (who.to_owned(), number.parse().unwrap())
        });
        match kind {
            "received" => {
                books.received.insert(life.to_owned(), lines.collect());
            }
            "acknowledged" => {
                let messages = lines.map(|(receiver, number)| (life.to_owned(), receiver, number));
                books.acknowledged.extend(messages);
            }
            _ => {}
        }
    }
    books
}

impl Books {
    /// Lost nothing that was acknowledged, doubled nothing, reordered nothing.
    pub(crate) fn check(&self) {
        let mut all = BTreeSet::new();
        let mut doubled = Vec::new();
        let mut reordered = Vec::new();
        for (receiver_life, messages) in &self.received {
            let (receiver, _) = receiver_life.split_once('-').unwrap();
            let mut last: BTreeMap<&str, u64> = BTreeMap::new();
            for (sender, number) in messages {
                let message: Message = (sender.clone(), receiver.to_owned(), *number);
                if !all.insert(message.clone()) {
                    doubled.push(message.clone());
                }
                let before = last.insert(sender, *number);
                if before.is_some_and(|before| before >= *number) {
                    reordered.push((receiver_life, before, message));
                }
            }
        }
        let lost: Vec<_> = self
            .acknowledged
            .iter()
            .filter(|message| !all.contains(*message))
            .collect();
        assert!(lost.is_empty(), "lost {}: {lost:?}", lost.len());
        assert!(doubled.is_empty(), "doubled {}: {doubled:?}", doubled.len());
        assert!(
            reordered.is_empty(),
            "reordered {}: {reordered:?}",
            reordered.len()
        );
        // Or nothing was tried.
        assert!(self.acknowledged.len() > 500, "only {self}");
        assert!(self.received.len() > 6, "nobody died: {self}");
    }
}

impl fmt::Display for Books {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let received: usize = self.received.values().map(Vec::len).sum();
        let (acknowledged, lives) = (self.acknowledged.len(), self.received.len());
        write!(
            f,
            "{acknowledged} acknowledged, {received} received, {lives} lives"
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Books of one sender and one receiver, large enough to be believed.
    fn books() -> Books {
        let messages = |range: std::ops::Range<u64>| range.map(|n| (String::from("a-1"), n));
        let mut books = Books::default();
        for life in 0..7 {
            let range = life * 100..(life + 1) * 100;
            books
                .received
                .insert(format!("b-{life}"), messages(range).collect());
        }
        let sent = messages(0..700).map(|(life, number)| (life, String::from("b"), number));
        books.acknowledged.extend(sent);
        books
    }

    #[test]
    fn books_that_agree_are_accepted() {
        books().check();
    }

    #[test]
    #[should_panic(expected = "lost 1:")]
    fn what_is_acknowledged_and_not_received_is_lost() {
        let mut books = books();
        books.received.get_mut("b-3").unwrap().remove(50);
        books.check();
    }

    #[test]
    #[should_panic(expected = "doubled 1:")]
    fn what_is_received_by_two_lives_is_doubled() {
        let mut books = books();
        let again = (String::from("a-1"), 350);
        books.received.get_mut("b-2").unwrap().push(again);
        books.check();
    }

    #[test]
    #[should_panic(expected = "reordered 1:")]
    fn what_is_received_after_a_later_one_is_reordered() {
        let mut books = books();
        books.received.get_mut("b-5").unwrap().swap(10, 11);
        books.check();
    }
}
