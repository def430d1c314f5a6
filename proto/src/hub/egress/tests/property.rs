//! Whatever comes in between, what was taken goes on in order.

use super::*;

#[derive(Clone, Debug)]
enum Op {
    Event {
        source: u64,
        body: usize,
        fds: u8,
    },
    Run {
        source: u64,
        frames: u64,
        body: usize,
    },
    Mark {
        source: u64,
        answer: bool,
    },
    Ask {
        source: u64,
    },
    Plan {
        before: usize,
    },
    Purge {
        source: u64,
    },
}

fn op() -> impl Strategy<Value = Op> {
    let source = || 0_u64..3;
    let body = prop_oneof![6 => 0_usize..300, 2 => 3_900_usize..9_000, 1 => Just(150_000)];
    let fds = prop_oneof![6 => Just(0_u8), 1 => 1_u8..4];
    prop_oneof![
        12 => (source(), body, fds).prop_map(|(source, body, fds)| Op::Event { source, body, fds }),
        8 => (source(), 2_u64..200, 0_usize..900)
            .prop_map(|(source, frames, body)| Op::Run { source, frames, body }),
        4 => (source(), any::<bool>()).prop_map(|(source, answer)| Op::Mark { source, answer }),
        2 => source().prop_map(|source| Op::Ask { source }),
        4 => (0_usize..PLAN_MAX - Header::LEN).prop_map(|before| Op::Plan { before }),
        1 => source().prop_map(|source| Op::Purge { source }),
    ]
}

/// What one source has sent and the member has got.
#[derive(Default)]
struct Talk {
    sent: u64,
    purged: u64,
    got: u64,
    marked: u64,
    seen: u64,
    answer: Option<u32>,
    path: u32,
    asked: Option<u32>,
}

impl Talk {
    fn see(&mut self, header: &Header, body: &[u8]) {
        match header.kind {
            Kind::MARK => {
                let mark = MarkBody::decode(body).unwrap();
                assert!(mark.received >= self.seen);
                assert_eq!(mark.credits[0].limit, mark.received * 10);
                self.seen = mark.received;
                if header.flags & flags::ANSWER != 0 {
                    assert_eq!(self.answer.take(), Some(mark.path));
                }
            }
            Kind::ASK => {
                let path = AskBody::decode(body).unwrap().path;
                assert!(self.asked.is_none_or(|before| before < path));
                self.asked = Some(path);
            }
            _ => {
                self.got = self.got.max(self.purged) + 1;
                assert_eq!((header.sequence, header.hops), (self.got, 1));
            }
        }
    }
}

proptest! {
    /// Whatever comes in between: order within a source, nothing lost or doubled, the last totals
    /// arrive, and attachments and accounts come out even.
    #[test]
    fn a_queue_passes_on_what_came_in_order(ops in prop::collection::vec(op(), 1..120)) {
        let census = Census::default();
        let mut queue = unbounded();
        let mut tx = Transmitter::new();
        let mut talks: [Talk; 3] = Default::default();
        let mut numbers = 0;
        let (mut attached, mut passed) = (0, 0);
        let finish = core::iter::repeat_n(Op::Plan { before: 0 }, 400);
        for op in ops.into_iter().chain(finish) {
            match op {
                Op::Event { source, body, fds } => {
                    let talk = &mut talks[source as usize];
                    talk.sent += 1;
                    let mut header = event(InstanceId(source), talk.sent);
                    let held = queue.held_of(InstanceId(source)).attachments;
                    let fds = fds.min((ATTACHMENTS_MAX - held) as u8);
                    header.attachments = fds;
                    attached += u64::from(fds);
                    let fds = census.fds(0..u32::from(fds));
                    push(&mut queue, header, &vec![1; body], fds).unwrap();
                }
                Op::Run { source, frames, body } => {
                    let talk = &mut talks[source as usize];
                    let lead = event(InstanceId(source), talk.sent + 1);
                    queue_run(&mut queue, lead, frames, body);
                    talk.sent += frames;
                }
                Op::Mark { source, answer } => {
                    let talk = &mut talks[source as usize];
                    talk.marked += 1;
                    numbers += 1;
                    let credits = vec![Credit { flow: 1, limit: talk.marked * 10, ..Credit::default() }];
                    let mark = MarkBody { received: talk.marked, path: numbers, credits };
                    let mut header = header(Kind::MARK, InstanceId(source), 0);
                    if answer {
                        header.flags = flags::ANSWER;
                        talk.answer = Some(numbers);
                    }
                    let mut body = Vec::new();
                    mark.encode(&mut body);
                    queue_up(&mut queue, header, &body);
                }
                Op::Ask { source } => {
                    let talk = &mut talks[source as usize];
                    talk.path += 1;
                    let mut body = Vec::new();
                    AskBody { path: talk.path }.encode(&mut body);
                    queue_up(&mut queue, header(Kind::ASK, InstanceId(source), 0), &body);
                }
                Op::Plan { before } => {
                    // Control frames of the link itself share its plans.
                    if before > 0 && !queue.wants_plan_start() {
                        tx.push(&pong(Header::LEN + before));
                    }
                    let (frames, fds) = plan(&mut queue, &mut tx);
                    passed += fds as u64;
                    for (header, body) in frames.iter().filter(|(h, _)| h.kind != Kind::PONG) {
                        talks[header.source.0 as usize].see(header, body);
                    }
                }
                Op::Purge { source } => {
                    let held = queue.held();
                    let purged = queue.purge(InstanceId(source));
                    prop_assert_eq!(queue.held().bytes, held.bytes - purged.bytes);
                    let talk = &mut talks[source as usize];
                    talk.purged = talk.sent;
                    talk.seen = talk.marked;
                    talk.asked = Some(talk.path);
                    talk.answer = None;
                }
            }
            let parts = (0..3).map(|source| queue.held_of(InstanceId(source)));
            let mut sum = Held::default();
            parts.for_each(|part| sum.add(part));
            prop_assert_eq!(sum, queue.held());
            prop_assert_eq!(queue.stores.quotas.held(), queue.held().credited);
            prop_assert_eq!(census.open(), queue.held().attachments);
        }
        prop_assert!(queue.is_empty());
        for talk in &talks {
            prop_assert_eq!(talk.got.max(talk.purged), talk.sent);
            prop_assert_eq!(talk.seen, talk.marked);
            prop_assert_eq!(talk.asked.unwrap_or(0), talk.path);
            prop_assert_eq!(talk.answer, None);
        }
        prop_assert_eq!(attached, passed + queue.attachments_dropped());
    }
}
