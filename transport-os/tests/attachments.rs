//! Descriptors beside bytes: none lost without a word, none doubled, none leaked.

mod common;

use std::io::{ErrorKind, IoSlice};
use std::os::fd::{AsFd, OwnedFd};
use std::process::Command;

use common::{
    alone, alone_without_privileges, connect, file_with, limit_descriptors, listen, pair, read_all,
    read_some, restore_descriptors, text_of, wait,
};
use rustix::event::PollFlags;
use rustix::process::{Resource, Rlimit, setrlimit};
use switchboard_os::{
    Accept, Address, FileLock, MAX_ATTACHMENTS, Read, Stream, Waker, Write, is_own_descriptor,
    open_descriptors,
};

fn send(stream: &mut Stream, bytes: &[u8], attachments: &[OwnedFd]) -> Write {
    let attachments: Vec<_> = attachments.iter().map(AsFd::as_fd).collect();
    stream.write(&[IoSlice::new(bytes)], &attachments)
}

#[test]
fn hazard_f1_plain_bytes_and_a_later_attachment_come_in_one_read() {
    let (mut left, mut right) = pair();
    assert!(matches!(send(&mut left, b"plain, ", &[]), Write::Wrote(7)));
    assert!(matches!(
        send(&mut left, b"with a file", &[file_with("one")]),
        Write::Wrote(11)
    ));

    let (read, bytes, mut attachments) = read_some(&mut right, 4096);

    assert!(
        matches!(
            read,
            Read::Data {
                bytes: 18,
                truncated: false,
                drained: false
            }
        ),
        "{read:?}"
    );
    assert_eq!(bytes, b"plain, with a file");
    assert_eq!(attachments.len(), 1);
    assert_eq!(text_of(attachments.remove(0)), "one");
}

#[test]
fn hazard_f2_attachments_come_in_order_with_the_first_byte_of_their_write_however_reads_are_split()
{
    const MESSAGES: usize = 12;
    const LENGTH: usize = 15;
    for room in 1..=64 {
        let (mut left, mut right) = pair();
        for number in 0..MESSAGES {
            let file = file_with(&number.to_string());
            // Every third goes without, so that reads can merge.
            let attachments: &[OwnedFd] = if number % 3 == 2 { &[] } else { &[file] };
            assert!(matches!(
                send(&mut left, &[number as u8; LENGTH], attachments),
                Write::Wrote(LENGTH)
            ));
        }
        drop(left);

        let (mut all, mut files) = (Vec::new(), Vec::new());
        loop {
            let (read, bytes, attachments) = read_some(&mut right, room);
            match read {
                Read::Data { truncated, .. } => assert!(!truncated),
                Read::End { reset: false } => break,
                // A process that another test is starting has our end open until its exec.
                Read::Blocked => wait(right.read_fd(), PollFlags::IN),
                other => panic!("{other:?}"),
            }
            all.extend(bytes);
            files.extend(attachments.into_iter().map(text_of));
            let begun = all.len().div_ceil(LENGTH);
            let due: Vec<_> = (0..begun)
                .filter(|n| n % 3 != 2)
                .map(|n| n.to_string())
                .collect();
            assert_eq!(files, due, "room {room}, after {} bytes", all.len());
        }
        let sent: Vec<u8> = (0..MESSAGES).flat_map(|n| [n as u8; LENGTH]).collect();
        assert_eq!(all, sent);
    }
}

#[test]
fn hazard_f3_after_a_partial_write_the_attachments_are_gone_with_the_first_part_and_only_once() {
    let (mut left, mut right) = pair();
    let payload = vec![7; 4_000_000];
    let file = [file_with("once")];

    let Write::Wrote(mut done) = send(&mut left, &payload, &file) else {
        panic!("not written")
    };
    assert!(
        done < payload.len(),
        "the kernel took all: this test needs a larger payload"
    );
    assert!(matches!(
        send(&mut left, &payload[done..], &file),
        Write::Blocked
    ));

    let (mut received, mut attachments) = (0, Vec::new());
    while received < payload.len() {
        let (bytes, more) = read_all(&mut right);
        received += bytes.len();
        attachments.extend(more);
        match send(&mut left, &payload[done..], &[]) {
            Write::Wrote(n) => done += n,
            other => panic!("{other:?}"),
        }
    }
    let texts: Vec<_> = attachments.into_iter().map(text_of).collect();
    assert_eq!(texts, ["once"]);
}

#[test]
fn hazard_f4_attachments_without_a_byte_are_refused_and_nothing_is_sent() {
    let (mut left, mut right) = pair();
    let file = file_with("x");
    let empty = [IoSlice::new(b""), IoSlice::new(b"")];
    for slices in [&[][..], &empty[..]] {
        match left.write(slices, &[file.as_fd()]) {
            Write::Failed(error) => assert_eq!(error.kind(), ErrorKind::InvalidInput),
            other => panic!("{other:?}"),
        }
        assert!(matches!(left.write(slices, &[]), Write::Wrote(0)));
    }
    assert!(matches!(read_some(&mut right, 64).0, Read::Blocked));
    // The stream is as it was.
    assert!(matches!(
        left.write(&[IoSlice::new(b"y")], &[file.as_fd()]),
        Write::Wrote(1)
    ));
    assert_eq!(read_all(&mut right).1.len(), 1);
}

#[test]
fn hazard_f5_and_f7_253_attachments_arrive_with_one_byte_and_254_are_refused() {
    let (mut left, mut right) = pair();
    let file = file_with("many");
    let mut attachments = vec![file.as_fd(); MAX_ATTACHMENTS + 1];
    match left.write(&[IoSlice::new(b"ab")], &attachments) {
        Write::Failed(error) => assert_eq!(error.kind(), ErrorKind::InvalidInput),
        other => panic!("{other:?}"),
    }
    attachments.pop();
    assert!(matches!(
        left.write(&[IoSlice::new(b"ab")], &attachments),
        Write::Wrote(2)
    ));

    let (read, _, attachments) = read_some(&mut right, 1);
    assert!(
        matches!(
            read,
            Read::Data {
                bytes: 1,
                truncated: false,
                ..
            }
        ),
        "{read:?}"
    );
    assert_eq!(attachments.len(), MAX_ATTACHMENTS);
    let (_, rest, more) = read_some(&mut right, 64);
    assert_eq!((&rest[..], more.len()), (&b"b"[..], 0));
}

#[test]
fn hazard_f6_without_free_descriptors_the_bytes_arrive_the_loss_is_said_and_nothing_leaks() {
    if !alone(
        "hazard_f6_without_free_descriptors_the_bytes_arrive_the_loss_is_said_and_nothing_leaks",
    ) {
        return;
    }
    let (mut left, mut right) = pair();
    let before = open_descriptors();
    let files: Vec<_> = (0..5).map(|n| file_with(&n.to_string())).collect();
    assert!(matches!(
        send(&mut left, b"five files", &files),
        Write::Wrote(10)
    ));

    let limits = limit_descriptors(2);
    let (read, bytes, attachments) = read_some(&mut right, 64);
    restore_descriptors(limits);

    assert!(
        matches!(
            read,
            Read::Data {
                bytes: 10,
                truncated: true,
                drained: false
            }
        ),
        "{read:?}"
    );
    assert_eq!(bytes, b"five files");
    let texts: Vec<_> = attachments.into_iter().map(text_of).collect();
    assert_eq!(texts, ["0", "1"], "the first ones");
    drop(files);
    assert_eq!(open_descriptors(), before);

    // The next message is whole again.
    assert!(matches!(
        send(&mut left, b"z", &[file_with("later")]),
        Write::Wrote(1)
    ));
    let (bytes, attachments) = read_all(&mut right);
    assert_eq!((&bytes[..], attachments.len()), (&b"z"[..], 1));
}

#[test]
fn hazard_f8_no_descriptor_of_ours_is_open_in_a_program_that_we_start() {
    if !alone("hazard_f8_no_descriptor_of_ours_is_open_in_a_program_that_we_start") {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let listed = || {
        let output = Command::new("ls").arg("/proc/self/fd").output().unwrap();
        assert!(output.status.success());
        String::from_utf8(output.stdout).unwrap()
    };
    let before = (listed(), open_descriptors());

    let (mut left, mut right) = pair();
    assert!(matches!(
        send(&mut left, b"x", &[file_with("x")]),
        Write::Wrote(1)
    ));
    let received = read_all(&mut right).1;
    let path = folder.path().join("s");
    let mut listener = listen(&path);
    let client = connect(&Address::unix(&path).unwrap());
    let Accept::Accepted(accepted) = listener.accept() else {
        panic!("not accepted")
    };
    let tcp = switchboard_os::Listener::bind(&"tcp://127.0.0.1:0".parse().unwrap()).unwrap();
    let tcp_client = connect(tcp.local_address());
    let lock = FileLock::acquire(folder.path().join("lock")).unwrap();
    let waker = Waker::new().unwrap();
    // Inherited ones, which come without the flag.
    let (read, write) = rustix::pipe::pipe().unwrap();
    let pipes = Stream::pipes(read, write).unwrap();

    assert!(open_descriptors() >= before.1 + 14);
    assert_eq!(listed(), before.0);
    drop((
        received, client, accepted, tcp_client, lock, waker, pipes, left, right,
    ));
    drop((listener, tcp));
    assert_eq!(open_descriptors(), before.1);
}

#[test]
fn hazard_f9_too_many_attachments_in_flight_is_a_state_of_its_own_and_ends_when_they_are_read() {
    const TEST: &str = "hazard_f9_too_many_attachments_in_flight_is_a_state_of_its_own_and_ends_when_they_are_read";
    if !alone_without_privileges(TEST) {
        return;
    }
    let limit = 48;
    let limits = rustix::process::getrlimit(Resource::Nofile);
    setrlimit(
        Resource::Nofile,
        Rlimit {
            current: Some(limit),
            maximum: limits.maximum,
        },
    )
    .unwrap();
    let (mut left, mut right) = pair();
    let file = [file_with("x")];

    let sent = (0..=2 * limit).take_while(|_| match send(&mut left, b"x", &file) {
        Write::Wrote(1) => true,
        Write::NoAttachmentRoom => false,
        other => panic!("{other:?}"),
    });
    let sent = sent.count();
    assert!(sent as u64 <= limit + 1, "{sent} were sent");
    // Only attachments are stopped.
    assert!(matches!(send(&mut left, b"y", &[]), Write::Wrote(1)));
    assert!(matches!(
        send(&mut left, b"x", &file),
        Write::NoAttachmentRoom
    ));

    let mut received = 0;
    while received < sent {
        let (read, _, attachments) = read_some(&mut right, 1);
        assert!(
            matches!(
                read,
                Read::Data {
                    truncated: false,
                    ..
                }
            ),
            "{read:?}"
        );
        received += attachments.len();
    }
    assert!(matches!(send(&mut left, b"x", &file), Write::Wrote(1)));
}

#[test]
fn hazard_f16_our_own_links_are_recognised_also_as_duplicates() {
    let folder = tempfile::tempdir().unwrap();
    let listener = listen(&folder.path().join("s"));
    let (left, right) = pair();
    let (read, write) = rustix::pipe::pipe().unwrap();
    let pipes = Stream::private_pipes(read, write).unwrap();
    let own: Vec<_> = left
        .identities()
        .chain(pipes.identities())
        .chain([listener.identity()])
        .copied()
        .collect();
    let is_own = |descriptor: &OwnedFd| is_own_descriptor(descriptor.as_fd(), &own).unwrap();

    assert!(is_own(&rustix::io::dup(left.read_fd()).unwrap()));
    assert!(is_own(&rustix::io::dup(pipes.read_fd()).unwrap()));
    assert!(is_own(&rustix::io::dup(&listener).unwrap()));
    assert!(
        !is_own(&rustix::io::dup(right.read_fd()).unwrap()),
        "the other end is another socket"
    );
    assert!(!is_own(&file_with("x")));
}

#[test]
fn attachments_are_refused_on_streams_that_cannot_carry_them() {
    let (read, write) = rustix::pipe::pipe().unwrap();
    let mut pipes = Stream::pipes(read, write).unwrap();
    let listener = switchboard_os::Listener::bind(&"tcp://127.0.0.1:0".parse().unwrap()).unwrap();
    let mut tcp = connect(listener.local_address());
    for stream in [&mut pipes, &mut tcp] {
        assert!(!stream.carries_attachments());
        match send(stream, b"x", &[file_with("x")]) {
            Write::Failed(error) => assert_eq!(error.kind(), ErrorKind::Unsupported),
            other => panic!("{other:?}"),
        }
        assert!(matches!(send(stream, b"x", &[]), Write::Wrote(1)));
    }
}

#[test]
fn hazard_f11_descriptors_that_nobody_wants_are_refused_where_they_are_sent() {
    let (mut left, mut right) = pair();
    match right.refuse_attachments() {
        Ok(()) => {}
        // Before Linux 6.16 there is no such switch, and what comes unwanted is closed by its reader.
        Err(error) => return assert_eq!(error.kind(), ErrorKind::Unsupported),
    }
    let refused = send(&mut left, b"unwanted", &[file_with("one")]);
    let Write::Failed(error) = refused else {
        panic!("{refused:?}");
    };
    assert_eq!(error.kind(), ErrorKind::PermissionDenied);
    assert!(matches!(send(&mut left, b"bytes", &[]), Write::Wrote(5)));
    let (_, bytes, attachments) = read_some(&mut right, 4096);
    assert_eq!((&bytes[..], attachments.len()), (&b"bytes"[..], 0));
    // The other direction is as it was.
    let sent = send(&mut right, b"a file", &[file_with("two")]);
    assert!(matches!(sent, Write::Wrote(6)), "{sent:?}");
    let (_, _, attachments) = read_some(&mut left, 4096);
    assert_eq!(attachments.len(), 1);
}
