use super::*;

const OWN: InstanceId = InstanceId(1);

fn ms(ms: u64) -> Instant {
    Instant::from_nanos(ms * 1_000_000)
}

const fn config(medium: Medium) -> LifeConfig {
    LifeConfig {
        medium,
        hello_deadline: Duration::from_secs(2),
        lease: Duration::from_secs(10),
        keepalive: Duration::from_millis(2_500),
        frame_deadline: Duration::from_secs(5),
    }
}

fn hello() -> Hello {
    Hello {
        version: VERSION,
        features: 0,
        instance: InstanceId(2),
        epoch: 0,
        name: None,
        budget: 0,
        message_cap: 0,
        hub: false,
    }
}

/// A link that has been up since 0 ms.
fn new(medium: Medium) -> Life {
    Life::new(ms(0), config(medium), OWN)
}

/// One whose hello came at 0 ms.
fn open(medium: Medium) -> Life {
    let mut life = new(medium);
    life.hello(ms(0), &hello()).unwrap();
    life
}

/// Nothing happens before the deadline, which is at `at`, and then `action` does.
#[track_caller]
fn expect(life: &mut Life, at: u64, action: LifeAction) {
    assert_eq!(life.deadline(), Some(ms(at)));
    let just_before = Instant::from_nanos(ms(at).as_nanos() - 1);
    assert_eq!(life.timeout(just_before), LifeAction::None);
    assert_eq!(life.timeout(ms(at)), action);
    assert!(life.deadline().is_none_or(|next| next > ms(at)));
}

#[track_caller]
fn expect_nothing_more(life: &mut Life) {
    assert_eq!(life.deadline(), None);
    assert_eq!(life.timeout(ms(1_000_000_000)), LifeAction::None);
}

#[test]
fn a_stranger_that_says_nothing_costs_two_seconds() {
    for medium in [Medium::Local, Medium::Network] {
        let mut life = new(medium);
        expect(&mut life, 2_000, LifeAction::Close(CloseCode::HelloTimeout));
        assert_eq!(life.frame(Kind::HELLO), Err(CloseCode::HelloTimeout));
        expect(&mut life, 3_000, LifeAction::Abandon);
        assert_eq!(life.state(), State::Closed);
        expect_nothing_more(&mut life);
    }
}

#[test]
fn hazard_w2_trickled_bytes_do_not_put_off_the_hello() {
    let mut life = new(Medium::Network);
    for at in (0..2_000).step_by(100) {
        life.received_bytes(ms(at));
        life.half_read(ms(at), Some(0));
    }
    expect(&mut life, 2_000, LifeAction::Close(CloseCode::HelloTimeout));
}

#[test]
fn hazard_w2_a_trickled_frame_has_five_seconds_on_a_network() {
    let mut life = open(Medium::Network);
    life.half_read(ms(0), Some(40));
    for at in (100..2_000).step_by(100) {
        life.received_bytes(ms(at));
        life.sent(ms(at));
        life.half_read(ms(at), Some(40));
    }
    // The next one begins in the very read that completes it.
    life.half_read(ms(2_000), Some(90));
    for at in (2_000..7_000).step_by(100) {
        life.received_bytes(ms(at));
        life.sent(ms(at));
        life.half_read(ms(at), Some(90));
    }
    expect(&mut life, 7_000, LifeAction::Close(CloseCode::WriteStalled));
}

#[test]
fn a_frame_that_is_complete_has_no_deadline() {
    let mut life = open(Medium::Network);
    life.half_read(ms(0), Some(40));
    life.half_read(ms(4_999), None);
    life.received_bytes(ms(4_999));
    life.sent(ms(4_999));
    expect(&mut life, 7_499, LifeAction::SendPing);
}

#[test]
fn nothing_but_a_hello_comes_first() {
    let life = new(Medium::Local);
    assert_eq!(life.frame(Kind::EVENT), Err(CloseCode::HelloExpected));
    assert_eq!(life.frame(Kind::PING), Err(CloseCode::HelloExpected));
    assert_eq!(life.frame(Kind::HELLO), Ok(()));
}

#[test]
fn a_second_hello_is_a_violation() {
    let mut life = open(Medium::Local);
    assert_eq!(life.frame(Kind::EVENT), Ok(()));
    let refused = Err(CloseCode::ProtocolViolation);
    assert_eq!(life.frame(Kind::HELLO), refused);
    assert_eq!(life.hello(ms(1), &hello()), refused);
    assert_eq!(life.state(), State::Open);
}

#[test]
fn a_hello_of_another_version_or_of_oneself_is_refused() {
    let mut life = new(Medium::Local);
    let version = VERSION + 1;
    let refused = life.hello(ms(1), &Hello { version, ..hello() });
    assert_eq!(refused, Err(CloseCode::VersionMismatch));
    for instance in [OWN, InstanceId::NONE] {
        let refused = life.hello(
            ms(1),
            &Hello {
                instance,
                ..hello()
            },
        );
        assert_eq!(refused, Err(CloseCode::ProtocolViolation));
    }
    assert_eq!(life.state(), State::Greeting);
    expect(&mut life, 2_000, LifeAction::Close(CloseCode::HelloTimeout));
}

#[test]
fn a_silent_local_peer_is_left_alone() {
    let mut life = open(Medium::Local);
    life.half_read(ms(1), Some(0));
    life.blocked(ms(1));
    expect_nothing_more(&mut life);
    assert_eq!(life.state(), State::Open);
}

#[test]
fn a_silent_network_peer_is_pinged_and_given_up_after_its_lease() {
    let mut life = open(Medium::Network);
    expect(&mut life, 2_500, LifeAction::SendPing);
    expect(&mut life, 5_000, LifeAction::SendPing);
    life.received_bytes(ms(6_000));
    expect(&mut life, 7_500, LifeAction::SendPing);
    expect(&mut life, 10_000, LifeAction::SendPing);
    expect(&mut life, 12_500, LifeAction::SendPing);
    expect(&mut life, 15_000, LifeAction::SendPing);
    expect(
        &mut life,
        16_000,
        LifeAction::Close(CloseCode::LeaseExpired),
    );
    expect(&mut life, 17_000, LifeAction::Abandon);
    expect_nothing_more(&mut life);
}

#[test]
fn a_link_that_talks_is_not_pinged() {
    let mut life = open(Medium::Network);
    for at in (0..60_000).step_by(2_000) {
        life.received_bytes(ms(at));
        life.sent(ms(at));
        assert_eq!(life.timeout(ms(at)), LifeAction::None);
        assert_eq!(life.deadline(), Some(ms(at + 2_500)));
    }
}

#[test]
fn hazard_q3_a_network_peer_that_talks_but_does_not_read_is_given_up() {
    let mut life = open(Medium::Network);
    for at in (1_000..11_000).step_by(500) {
        life.received_bytes(ms(at));
        life.blocked(ms(at));
        let _: LifeAction = life.timeout(ms(at));
    }
    assert_eq!(life.timeout(ms(10_999)), LifeAction::None);
    let stalled = LifeAction::Close(CloseCode::WriteStalled);
    assert_eq!(life.timeout(ms(11_000)), stalled);
}

#[test]
fn a_peer_that_reads_again_has_its_whole_time_anew() {
    let mut life = open(Medium::Network);
    life.blocked(ms(0));
    life.sent(ms(9_000));
    life.received_bytes(ms(9_000));
    life.blocked(ms(9_500));
    expect(&mut life, 11_500, LifeAction::SendPing);
    assert_eq!(life.timeout(ms(13_000)), LifeAction::None);
}

#[test]
fn a_process_that_was_stopped_hears_its_peer_before_it_judges() {
    let mut life = open(Medium::Network);
    let woke = 3_600_000;
    life.reprieve(ms(woke), Duration::from_millis(100));
    assert_eq!(life.timeout(ms(woke)), LifeAction::SendPing);
    expect(
        &mut life,
        woke + 100,
        LifeAction::Close(CloseCode::LeaseExpired),
    );

    let mut life = open(Medium::Network);
    life.reprieve(ms(woke), Duration::from_millis(100));
    life.received_bytes(ms(woke));
    assert_eq!(life.timeout(ms(woke + 100)), LifeAction::SendPing);
    assert_eq!(life.state(), State::Open);
}

#[test]
fn the_first_reason_to_close_stands() {
    let mut life = open(Medium::Network);
    assert!(life.close(ms(5), CloseCode::Handover));
    assert!(!life.close(ms(6), CloseCode::Internal));
    let code = CloseCode::Handover;
    assert_eq!(life.state(), State::Closing { code });
    assert_eq!(life.frame(Kind::EVENT), Err(code));
    expect(&mut life, 1_005, LifeAction::Abandon);
    assert!(!life.close(ms(2_000), CloseCode::Internal));
    expect_nothing_more(&mut life);
}

#[test]
fn a_link_that_ended_has_no_deadline() {
    let mut life = open(Medium::Network);
    assert!(life.close(ms(5), CloseCode::Normal));
    life.ended(ms(6));
    assert_eq!(life.state(), State::Closed);
    expect_nothing_more(&mut life);
}

#[test]
fn hazard_t3_deadlines_beyond_the_end_of_the_clock_never_come() {
    let mut endless = config(Medium::Network);
    endless.hello_deadline = Duration::MAX;
    let life = Life::new(ms(0), endless, OWN);
    assert_eq!(life.deadline(), None);

    let late = Instant::from_nanos(u64::MAX - 1_000);
    let mut life = Life::new(late, config(Medium::Network), OWN);
    life.hello(late, &hello()).unwrap();
    assert_eq!(life.deadline(), None);
    assert_eq!(life.timeout(late), LifeAction::None);
}

#[test]
fn hazard_t6_no_setting_makes_a_deadline_that_is_due_again_at_once() {
    let zero = Duration::ZERO;
    let config = LifeConfig {
        medium: Medium::Network,
        hello_deadline: zero,
        lease: Duration::from_secs(1),
        keepalive: zero,
        frame_deadline: zero,
    };
    let mut life = Life::new(ms(1), config, OWN);
    life.hello(ms(1), &hello()).unwrap();
    for at in 1..2_500 {
        let _: LifeAction = life.timeout(ms(at));
        assert!(life.deadline().is_none_or(|next| next > ms(at)), "{at}");
    }
    assert_eq!(life.state(), State::Closed);
}
