//! What the demonstration and its workers say to each other.

use serde::{Deserialize, Serialize};
use switchboard_mio::name::{Call, Event};

/// A question with one right answer.
pub const WORK: Call<Work, Done> = Call::new("work");
/// What a worker has seen of the questions of the one who asks.
pub const REPORT: Call<(), Seen> = Call::new("report");
/// Answers one HTTP request on the TCP listener that comes with this; the reply is the worker's pid.
pub const SERVE_HTTP: Call<(), u32> = Call::new("serve-http");
/// Something that is written down before it is done.
pub const JOB: Call<Job, u64> = Call::new("job");
/// A numbered event.
pub const NOTE: Event<Note> = Event::new("note");
/// What a worker has heard of the events of a peer, `3#7`.
pub const HEARD: Call<String, Seen> = Call::new("heard");
/// Asks all of these peers, and counts the right answers.
pub const GOSSIP: Call<Gossip, u64> = Call::new("gossip");
/// Sends events to a peer until one is refused.
pub const FLOOD: Call<Flood, Flooded> = Call::new("flood");

/// Every tenth job fails, with this code.
pub const FAULT_CODE: i32 = 10;

/// See [`WORK`].
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Work {
    /// To be squared.
    pub n: u64,
    /// Counts the questions of one sender to one worker, from 0.
    pub order: u64,
}

/// The right answer to [`WORK`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Done {
    /// The square of what was asked.
    pub square: u64,
    /// The number of the question.
    pub order: u64,
    /// Who answers.
    pub by: String,
}

/// What came from one sender.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Seen {
    /// How many came.
    pub count: u64,
    /// How many came that had come before.
    pub duplicated: u64,
    /// How many came when another one was due.
    pub reordered: u64,
    /// The number that is due.
    next: u64,
}

impl Seen {
    /// Counts one with this number.
    pub fn note(&mut self, number: u64) {
        self.count += 1;
        self.duplicated += u64::from(number < self.next);
        self.reordered += u64::from(number > self.next);
        self.next = self.next.max(number + 1);
    }
}

/// See [`JOB`].
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Job {
    /// Its number, which is written down.
    pub n: u64,
    /// Gives it weight.
    pub filler: String,
}

/// See [`NOTE`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Note {
    /// Counts the notes of one sender to one worker, from 0.
    pub n: u64,
    /// Gives it weight.
    pub filler: String,
}

/// See [`GOSSIP`].
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Gossip {
    /// Whom to ask.
    pub peers: Vec<String>,
    /// How often to ask each.
    pub rounds: u64,
}

/// See [`FLOOD`].
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Flood {
    /// Whom to flood.
    pub to: String,
    /// The filler of each note, in bytes.
    pub size: usize,
}

/// What came of [`FLOOD`].
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Flooded {
    /// How many notes were accepted.
    pub accepted: u64,
    /// Whether the one that was refused came back whole.
    pub given_back: bool,
    /// With which words.
    pub refusal: String,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_lost_doubled_or_swapped_is_seen() {
        let seen = |numbers: &[u64]| {
            let mut seen = Seen::default();
            numbers.iter().for_each(|number| seen.note(*number));
            (seen.count, seen.duplicated, seen.reordered)
        };
        assert_eq!(seen(&[0, 1, 2]), (3, 0, 0));
        assert_eq!(seen(&[0, 0, 1]), (3, 1, 0));
        assert_eq!(seen(&[0, 2, 1]), (3, 1, 1));
        assert_eq!(seen(&[1]), (1, 0, 1));
    }
}
