//! What may wait for a member, and what is refused and given back.

use super::*;

#[test]
fn hazard_q1_what_the_member_gave_no_credit_for_is_refused_and_given_back() {
    let census = Census::default();
    let mut queue = unbounded();
    push_within(&mut queue, 1_000, event(A, 1), &[0; 600], vec![]).unwrap();
    let mut large = event(B, 1);
    large.attachments = 1;
    let refused = push(&mut queue, large, &[0; 400], census.fds([1])).unwrap_err();
    assert_eq!(refused.why, Overrun::Credit);
    assert_eq!(refused.why.close_code(), CloseCode::CreditOverrun);
    assert_eq!(refused.attachments.len(), 1);
    // A small frame costs 128, so that messages are bounded with bytes.
    queue_up(&mut queue, event(B, 1), b"");
    queue_up(&mut queue, event(B, 2), b"");
    let refused = push(&mut queue, event(B, 3), b"", vec![]).unwrap_err();
    assert_eq!(refused.why, Overrun::Credit);
    // Marks and receipts need none.
    mark(&mut queue, 0, 0, 1, &[(1, 1)]);
    queue_up(&mut queue, header(Kind::RECEIPT, B, 3), b"");
    assert_eq!(queue.held().credited, 636 + 2 * 128);
    assert_eq!(queue.held_of(B).uncredited, 128);

    queue.rebound(|_| 2_000);
    queue_up(&mut queue, event(B, 4), b"");
    assert_eq!(write_all(&mut queue).len(), 6);
}

#[test]
fn hazard_q1_who_does_not_read_behind_a_link_fills_its_own_account_and_no_other() {
    let mut queue = unbounded();
    let for_child = |source, sequence| Header {
        destination: CHILD,
        ..event(source, sequence)
    };
    push_within(&mut queue, 1_000, for_child(A, 1), &[0; 600], vec![]).unwrap();
    queue_up(&mut queue, for_child(B, 1), &[0; 200]);
    let refused = push(&mut queue, for_child(B, 2), &[0; 200], vec![]).unwrap_err();
    assert_eq!(refused.why, Overrun::Credit);
    assert_eq!(
        queue.heaviest(CHILD),
        Some(A),
        "not who happened to come last"
    );
    assert_eq!(queue.heaviest(MEMBER), None);
    queue_up(&mut queue, event(B, 2), &[0; 5_000]);
    // What was taken back or purged is not charged any more.
    queue.purge(A);
    queue_up(&mut queue, for_child(B, 3), &[0; 600]);
    assert_eq!(queue.take_returned(CHILD).len(), 2);
    push_within(&mut queue, 1_000, for_child(A, 4), &[0; 900], vec![]).unwrap();
    assert_eq!(write_all(&mut queue).len(), 2);
    queue_up(&mut queue, for_child(A, 5), &[0; 900]);
}

#[test]
fn hazard_q1_attachments_are_counted_for_each_pair() {
    let census = Census::default();
    let mut queue = unbounded();
    let mut bearing = event(A, 1);
    bearing.attachments = 16;
    let for_child = Header {
        destination: CHILD,
        ..bearing
    };
    let fill = |queue: &mut Egress<Fd>, header| {
        let count = (0..).take_while(|_| push(queue, header, b"", census.fds(0..16)).is_ok());
        count.count()
    };
    assert_eq!(fill(&mut queue, bearing), 8);
    assert_eq!(fill(&mut queue, for_child), 8);
    assert_eq!(write_all(&mut queue).len(), 16);
    assert_eq!(fill(&mut queue, bearing), 8);
    assert_eq!(queue.take_returned(MEMBER).len(), 8);
    assert_eq!(fill(&mut queue, bearing), 8);
}

#[test]
fn hazard_q1_frames_without_credit_and_attachments_are_bounded_too() {
    let census = Census::default();
    let mut queue = unbounded();
    for sequence in 1..=65_536 {
        queue_up(&mut queue, header(Kind::RECEIPT, A, sequence), b"");
    }
    let refused = push(&mut queue, header(Kind::RECEIPT, A, 0), b"", vec![]).unwrap_err();
    assert_eq!(refused.why, Overrun::Uncredited);
    queue_up(&mut queue, header(Kind::RECEIPT, B, 1), b"");

    let mut bearing = event(B, 2);
    bearing.attachments = 16;
    for _ in 0..8 {
        push(&mut queue, bearing, b"", census.fds(0..16)).unwrap();
    }
    let refused = push(&mut queue, bearing, b"", census.fds(0..16)).unwrap_err();
    assert_eq!(refused.why, Overrun::Attachments);
    assert_eq!(refused.attachments.len(), 16);
    drop(refused);
    assert_eq!(census.open(), 128);
}

#[test]
fn hazard_q1_credit_for_ever_new_flows_is_bounded() {
    let mut queue = unbounded();
    let credits: Vec<(u32, u64)> = (1..=2_600).map(|flow| (flow, 1)).collect();
    mark(&mut queue, 0, 0, 1, &credits);
    mark(&mut queue, flags::ANSWER, 1, 1, &credits);
    let mut body = Vec::new();
    let credits = vec![Credit {
        flow: 9_999,
        ..Credit::default()
    }];
    MarkBody {
        received: 1,
        path: 0,
        credits,
    }
    .encode(&mut body);
    let refused = push(&mut queue, header(Kind::MARK, A, 0), &body, vec![]).unwrap_err();
    assert_eq!(refused.why, Overrun::Flows);
    assert_eq!(write_all(&mut queue).len(), 1);
}

#[test]
fn a_run_is_charged_given_back_and_returned_frame_by_frame() {
    let mut queue = unbounded();
    let request = header(Kind::REQUEST, A, 1);
    push_within(&mut queue, 10 * 128, request, b"", vec![]).unwrap();
    let most = queue.most_of_run(&request).unwrap();
    assert_eq!(most.cost, 9 * 128);
    queue_run(&mut queue, header(Kind::REQUEST, A, 2), 9, 40);
    assert_eq!(queue.held().frames, 10);
    let refused = push(&mut queue, header(Kind::REQUEST, A, 11), b"", vec![]).unwrap_err();
    assert_eq!(refused.why, Overrun::Credit);
    let returned = queue.take_returned(MEMBER);
    let numbers: Vec<u64> = returned.iter().map(|frame| frame.sequence).collect();
    assert_eq!(numbers, (1..=10).collect::<Vec<_>>());
    assert!(returned.iter().all(Unwritten::may_be_request));
    assert_eq!(queue.held(), Held::default());
    queue_run(&mut queue, header(Kind::REQUEST, A, 11), 10, 40);
    assert_eq!(write_all(&mut queue).len(), 10);
}
