//! What the compiler infers from names, in the shapes that the drivers use.

use serde::Serialize;
use serde::de::DeserializeOwned;
use switchboard_proto::fault::Fault;
use switchboard_proto::name::{Call, CallName, Event, EventName};

const ADD: Call<(i32, i32), i32> = Call::new("math.add");
const MOVED: Event<(f32, f32)> = Event::new("moved");
const SAID: Event<str> = Event::new("said");

fn request<M: Serialize + ?Sized, R: DeserializeOwned + Default>(
    name: impl CallName<M, R>,
    _data: &M,
) -> (String, R) {
    (name.name().into(), R::default())
}

fn emit<M: Serialize + ?Sized>(name: impl EventName<M>, _data: &M) -> String {
    name.name().into()
}

fn on<M: DeserializeOwned, R: Serialize, F>(name: impl CallName<M, R>, _handler: F) -> String
where
    F: AsyncFn(M) -> Result<R, Fault>,
{
    name.name().into()
}

fn on_event<M: DeserializeOwned, F>(name: impl EventName<M>, _listener: F) -> String
where
    F: Fn(M),
{
    name.name().into()
}

#[test]
fn a_typed_name_gives_the_types_of_the_call() {
    let (name, sum) = request(ADD, &(2, 3));
    let _: i32 = sum;
    assert_eq!(name, "math.add");
    assert_eq!(emit(MOVED, &(1.0, 2.0)), "moved");
    assert_eq!(emit(SAID, "hello"), "said");
    assert_eq!(on(ADD, async |(a, b)| Ok(a + b)), "math.add");
    assert_eq!(on_event(MOVED, |(x, y)| assert!(x < y)), "moved");
}

#[test]
fn a_string_stands_wherever_a_typed_name_does() {
    let (name, data): (_, String) = request("get", &());
    assert_eq!((name.as_str(), data.as_str()), ("get", ""));
    let (name, ()) = request::<_, ()>("serve", &"web");
    assert_eq!(name, "serve");
    let built = format!("worker.{}", 3);
    let (_, count) = request::<_, u64>(&built, &[1u8, 2]);
    assert_eq!(count, 0);
    assert_eq!(emit(built, "Hello"), "worker.3");
    assert_eq!(emit("hello", "Hello"), "hello");
    assert_eq!(on("foo", async |v: i32| Ok(v)), "foo");
    assert_eq!(on_event("foo", |_: Vec<String>| ()), "foo");
}

#[test]
fn a_name_is_copied_and_shared_whatever_its_types() {
    fn shared<T: Copy + Send + Sync + 'static>(_: T) {}
    struct NotEvenSend(#[expect(dead_code, reason = "only its type is used")] *const u8);
    const ODD: Call<NotEvenSend, NotEvenSend> = Call::new("odd");
    shared(ODD);
    shared(Event::<NotEvenSend>::new("odd"));
    assert_eq!(
        format!("{ODD} {ODD:?} {MOVED} {MOVED:?}"),
        r#"odd Call("odd") moved Event("moved")"#
    );
}

#[test]
fn a_handler_of_another_type_does_not_compile() {
    // The doc test of `Call` would not say which line failed; here the trait itself is asked.
    trait Other {
        const NAMES: bool = false;
    }
    impl<T> Other for Probe<T> {}
    struct Probe<T>(std::marker::PhantomData<T>);
    impl<T: CallName<(i32, i32), i32>> Probe<T> {
        const NAMES: bool = true;
    }
    const { assert!(Probe::<Call<(i32, i32), i32>>::NAMES) };
    const { assert!(Probe::<&str>::NAMES) };
    const { assert!(!Probe::<Call<(i64, i64), i32>>::NAMES) };
    const { assert!(!Probe::<Call<(i32, i32), u8>>::NAMES) };
}
