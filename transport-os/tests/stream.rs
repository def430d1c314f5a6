//! What the user of a stream sees when it is full, empty, closed or reset, whatever it is made of.

mod common;

use std::io::{ErrorKind, IoSlice};
use std::os::fd::{AsFd, OwnedFd};
use std::sync::mpsc;
use std::time::Duration;

use bytes::BytesMut;
use common::{alone, file_with, pair, read_all, read_some, wait, write_all};
use rustix::event::PollFlags;
use rustix::fs::{OFlags, fcntl_getfl};
use switchboard_os::{Kind, MAX_READ, Read, Stream, Write};

/// Two streams connected by two pipes, each end with a duplicate that stands for the process that
/// shares it.
struct Pipes {
    left: Stream,
    right: Stream,
    shared: Vec<OwnedFd>,
}

fn pipes() -> Pipes {
    let (right_read, left_write) = rustix::pipe::pipe().unwrap();
    let (left_read, right_write) = rustix::pipe::pipe().unwrap();
    let ends = [&right_read, &left_write, &left_read, &right_write];
    let shared = ends.map(|end| rustix::io::dup(end).unwrap()).into();
    let left = Stream::pipes(left_read, left_write).unwrap();
    let right = Stream::pipes(right_read, right_write).unwrap();
    Pipes {
        left,
        right,
        shared,
    }
}

/// Makes the kernel refuse `RWF_NOWAIT` on both pipes, as it does for good on a pipe that was
/// spliced, and on every pipe before Linux 6.4.
fn pipes_without_nowait() -> Pipes {
    use rustix::pipe::{SpliceFlags, splice};
    let pipes = pipes();
    let (file, null) = (
        file_with("ab"),
        std::fs::File::options().write(true).open("/dev/null"),
    );
    let null = null.unwrap();
    for (read, write) in [(0, 1), (2, 3)] {
        let (read, write) = (&pipes.shared[read], &pipes.shared[write]);
        assert_eq!(
            splice(&file, None, write, None, 1, SpliceFlags::empty()).unwrap(),
            1
        );
        assert_eq!(
            splice(read, None, &null, None, 1, SpliceFlags::empty()).unwrap(),
            1
        );
    }
    pipes
}

/// Runs the body elsewhere, so that a call that blocks fails the test instead of hanging it.
fn without_blocking<T: Send + 'static>(body: impl FnOnce() -> T + Send + 'static) -> T {
    let (done, result) = mpsc::channel();
    std::thread::spawn(move || done.send(body()));
    result
        .recv_timeout(Duration::from_secs(20))
        .expect("a call blocked, or the body panicked")
}

fn fill(stream: &mut Stream) -> usize {
    let (chunk, mut total) = (vec![1; 64 * 1024], 0);
    loop {
        match stream.write(&[IoSlice::new(&chunk)], &[]) {
            Write::Wrote(n) => total += n,
            Write::Blocked => return total,
            other => panic!("{other:?}"),
        }
    }
}

#[test]
fn a_read_appends_within_the_spare_capacity_and_never_reallocates() {
    let (mut left, mut right) = pair();
    write_all(&mut left, b"0123456789");
    let mut buf = BytesMut::with_capacity(16);
    buf.extend_from_slice(b"already here");
    let (place, room) = (buf.as_ptr(), buf.capacity() - buf.len());

    let read = right.read::<OwnedFd>(&mut buf, &mut Vec::new());

    assert!(
        matches!(read, Read::Data { bytes, drained: false, .. } if bytes == room),
        "{read:?}"
    );
    assert_eq!(&buf[..12 + room], &b"already here0123456789"[..12 + room]);
    assert_eq!(buf.as_ptr(), place);
    // Full: no call that would look like the end of the stream.
    match right.read::<OwnedFd>(&mut buf, &mut Vec::new()) {
        Read::Failed(error) => assert_eq!(error.kind(), ErrorKind::InvalidInput),
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_read_says_when_the_socket_is_empty_and_when_it_may_not_be() {
    let (mut left, mut right) = pair();
    write_all(&mut left, &vec![1; MAX_READ + 10]);
    let (read, bytes, _) = read_some(&mut right, 2 * MAX_READ);
    assert!(
        matches!(
            read,
            Read::Data {
                bytes: MAX_READ,
                drained: false,
                ..
            }
        ),
        "{read:?}"
    );
    assert_eq!(bytes.len(), MAX_READ);
    let (read, _, _) = read_some(&mut right, 2 * MAX_READ);
    assert!(
        matches!(
            read,
            Read::Data {
                bytes: 10,
                drained: true,
                ..
            }
        ),
        "{read:?}"
    );
    assert!(matches!(read_some(&mut right, 8).0, Read::Blocked));
}

#[test]
fn slices_are_written_in_order_also_when_empty_ones_fill_the_vector() {
    let (mut left, mut right) = pair();
    let mut slices = vec![IoSlice::new(b""); 3000];
    slices.extend([
        IoSlice::new(b"one "),
        IoSlice::new(b""),
        IoSlice::new(b"two"),
    ]);
    assert!(matches!(left.write(&slices, &[]), Write::Wrote(7)));
    assert_eq!(read_all(&mut right).0, b"one two");

    // More than IOV_MAX is a shorter write, no error.
    let many = vec![IoSlice::new(b"x"); 3000];
    let mut done = 0;
    while done < many.len() {
        match left.write(&many[done..], &[]) {
            Write::Wrote(n) => done += n,
            other => panic!("{other:?}"),
        }
    }
    assert_eq!(read_all(&mut right).0, vec![b'x'; 3000]);
}

#[test]
fn the_end_comes_behind_what_was_written_and_the_other_direction_goes_on() {
    let pipes = pipes();
    drop(pipes.shared);
    let (a, b) = pair();
    for (mut left, mut right) in [(a, b), (pipes.left, pipes.right)] {
        write_all(&mut left, b"last words");
        left.shutdown_write().unwrap();
        left.shutdown_write().unwrap();
        assert!(matches!(
            left.write(&[IoSlice::new(b"x")], &[]),
            Write::Failed(_)
        ));

        assert_eq!(read_some(&mut right, 64).1, b"last words");
        wait(right.read_fd(), PollFlags::IN);
        assert!(matches!(
            read_some(&mut right, 64).0,
            Read::End { reset: false }
        ));
        write_all(&mut right, b"still here");
        assert_eq!(read_some(&mut left, 64).1, b"still here");
    }
}

#[test]
fn hazard_s3_a_write_to_a_closed_reader_fails_and_no_signal_comes() {
    const TEST: &str = "hazard_s3_a_write_to_a_closed_reader_fails_and_no_signal_comes";
    if !alone(TEST) {
        return;
    }
    let broken = |stream: &mut Stream| match stream.write(&[IoSlice::new(b"x")], &[]) {
        Write::Failed(error) => assert_eq!(error.kind(), ErrorKind::BrokenPipe),
        other => panic!("{other:?}"),
    };
    // Pipes: Rust's start-up code ignores the signal.
    for Pipes {
        mut left,
        right,
        shared,
    } in [pipes(), pipes_without_nowait()]
    {
        drop((right, shared));
        broken(&mut left);
    }
    // Sockets: also where it would kill us.
    // SAFETY: no other thread of this process handles signals, and SIG_DFL is a valid disposition.
    unsafe { libc::signal(libc::SIGPIPE, libc::SIG_DFL) };
    let (mut left, right) = pair();
    drop(right);
    broken(&mut left);
}

#[test]
fn hazard_s4_two_streams_that_only_write_are_blocked_and_go_on_when_they_read() {
    for pipes in [pipes(), pipes_without_nowait()] {
        without_blocking(move || {
            const TOTAL: usize = 4 << 20;
            let mut ends = [pipes.left, pipes.right];
            let (mut sent, mut received) = ([0; 2], [0; 2]);
            let payload: Vec<u8> = (0..TOTAL).map(|n| (n % 251) as u8).collect();
            while received != [TOTAL; 2] {
                for (me, end) in ends.iter_mut().enumerate() {
                    while sent[me] < TOTAL {
                        match end.write(&[IoSlice::new(&payload[sent[me]..])], &[]) {
                            Write::Wrote(n) => sent[me] += n,
                            Write::Blocked => break,
                            other => panic!("{other:?}"),
                        }
                    }
                    let (bytes, _) = read_all(end);
                    let expected = &payload[received[me]..][..bytes.len()];
                    assert_eq!(bytes, expected, "at {}", received[me]);
                    received[me] += bytes.len();
                }
            }
        });
    }
}

#[test]
fn hazard_s8_a_peer_that_closes_with_bytes_unread_ends_in_a_reset_behind_its_last_words() {
    let (mut left, mut right) = pair();
    write_all(&mut left, b"never read");
    write_all(&mut right, b"reply");
    drop(right);

    assert_eq!(read_some(&mut left, 64).1, b"reply");
    wait(left.read_fd(), PollFlags::IN);
    assert!(matches!(
        read_some(&mut left, 64).0,
        Read::End { reset: true }
    ));
}

#[test]
fn hazard_s12_shared_pipes_neither_block_nor_get_their_flags_changed() {
    for (pipes, bounded) in [(pipes(), false), (pipes_without_nowait(), true)] {
        let shared: Vec<_> = pipes
            .shared
            .iter()
            .map(|fd| rustix::io::dup(fd).unwrap())
            .collect();
        without_blocking(move || {
            let Pipes {
                mut left,
                mut right,
                ..
            } = pipes;
            assert!(
                matches!(read_some(&mut left, 64).0, Read::Blocked),
                "an empty pipe"
            );
            let written = match left.write(&[IoSlice::new(&[1; 20_000])], &[]) {
                Write::Wrote(n) => n,
                other => panic!("{other:?}"),
            };
            // Shows that the second round does take the other way.
            assert_eq!(written, if bounded { 4096 } else { 20_000 });
            let total = written + fill(&mut left);
            assert!(
                matches!(left.write(&[IoSlice::new(b"x")], &[]), Write::Blocked),
                "a full pipe"
            );
            assert_eq!(read_all(&mut right).0.len(), total);
        });
        for end in &shared {
            assert!(!fcntl_getfl(end).unwrap().contains(OFlags::NONBLOCK));
        }
    }
}

#[test]
fn pipes_of_our_own_do_not_block_and_the_childs_ends_stay_as_it_expects_them() {
    let (read, childs_write) = rustix::pipe::pipe().unwrap();
    let (childs_read, write) = rustix::pipe::pipe().unwrap();
    let childs = [childs_read.as_fd(), childs_write.as_fd()].map(|fd| rustix::io::dup(fd).unwrap());
    let mut ours = Stream::private_pipes(read, write).unwrap();
    assert_eq!(ours.kind(), Kind::Pipe);
    let total = without_blocking(move || {
        assert!(matches!(read_some(&mut ours, 64).0, Read::Blocked));
        fill(&mut ours)
    });
    assert!(total >= 65_536, "{total}");
    for end in &childs {
        assert!(!fcntl_getfl(end).unwrap().contains(OFlags::NONBLOCK));
    }
}

#[test]
fn standard_streams_that_are_sockets_work_as_pipes_do() {
    let (ours, theirs) = std::os::unix::net::UnixStream::pair().unwrap();
    let shared = ours.try_clone().unwrap();
    let mut stream = Stream::pipes(ours.try_clone().unwrap().into(), ours.into()).unwrap();
    let mut other = Stream::unix(theirs.into()).unwrap();
    without_blocking(move || {
        assert!(matches!(read_some(&mut stream, 64).0, Read::Blocked));
        write_all(&mut other, b"in");
        assert_eq!(read_some(&mut stream, 64).1, b"in");
        let total = fill(&mut stream);
        assert_eq!(read_all(&mut other).0.len(), total);
    });
    assert!(!fcntl_getfl(&shared).unwrap().contains(OFlags::NONBLOCK));
}

#[test]
fn an_inherited_socket_is_used_without_changing_its_flags() {
    let (ours, mut theirs) = pair();
    let shared = rustix::io::dup(ours.read_fd()).unwrap();
    without_blocking(move || {
        let mut ours = ours;
        assert!(matches!(read_some(&mut ours, 64).0, Read::Blocked));
        let total = fill(&mut ours);
        assert_eq!(read_all(&mut theirs).0.len(), total);
    });
    assert!(!fcntl_getfl(&shared).unwrap().contains(OFlags::NONBLOCK));
}

#[test]
fn a_descriptor_of_the_wrong_kind_comes_back() {
    let (read, write) = rustix::pipe::pipe().unwrap();
    let error = Stream::unix(read).unwrap_err();
    assert!(
        error.to_string().contains("Unix-domain stream socket"),
        "{error}"
    );
    let read = error.into_descriptors().remove(0);
    let read = Stream::tcp(read).unwrap_err().into_descriptors().remove(0);
    // The halves exchanged: both come back, in order.
    let back = Stream::pipes(write, read).unwrap_err().into_descriptors();
    let [write, read] = <[OwnedFd; 2]>::try_from(back).unwrap();
    let mut stream = Stream::pipes(read, write).unwrap();
    write_all(&mut stream, b"x");
    assert_eq!(read_some(&mut stream, 8).1, b"x");

    let datagram = std::os::unix::net::UnixDatagram::unbound().unwrap();
    assert!(Stream::unix(datagram.into()).is_err());
    let (unix, _other) = switchboard_os::socketpair().unwrap();
    assert_eq!(unix.kind(), Kind::Unix);
    assert!(Stream::tcp(rustix::io::dup(unix.read_fd()).unwrap()).is_err());
}
