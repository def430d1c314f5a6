//! Values and the bytes between processes.

use switchboard_proto::codec::Value;
use switchboard_tests::{How, Setting, World, int, map, text};

use crate::settings::over_all;

over_all!(
    scenario_f3_a_value_arrives_as_what_it_is,
    scenario_f4_a_value_arrives_with_all_of_its_length,
    scenario_f5_objects_become_bytes_and_bytes_become_objects_again,
    scenario_f6_f7_the_default_codec_writes_and_reads_any_value,
    scenario_f18_messages_that_lie_in_one_buffer_are_told_apart,
    scenario_f19_messages_in_small_chunks_are_put_together,
);

fn kind(world: &World, value: &Value) -> Value {
    world
        .hub()
        .request("kind", value, How::to("worker"))
        .unwrap()
}

/// F3: data-type detection for 8 values.
fn scenario_f3_a_value_arrives_as_what_it_is(setting: Setting) {
    let world = World::new(setting);
    let _worker = world.fork_up("strict", "worker");
    let values = [
        (text("text"), "string"),
        (Value::Bytes(vec![1, 2, 3]), "bytes"),
        (int(123), "int"),
        (Value::Float(123.456), "double"),
        (Value::Bool(true), "bool"),
        (Value::Null, "empty"),
        (Value::Array(vec![int(1)]), "array"),
        (map([("a", int(1))]), "object"),
    ];
    for (value, expected) in values {
        assert_eq!(kind(&world, &value).get("kind"), Some(&text(expected)));
    }
    // 2^47 and above threw there, and -0 became 0.
    for exact in [1 << 47, (1 << 53) + 1, i64::MAX, i64::MIN] {
        assert_eq!(kind(&world, &int(exact)).get("value"), Some(&int(exact)));
    }
    let zero = kind(&world, &Value::Float(-0.0));
    let zero = zero.get("value").and_then(Value::as_f64).unwrap();
    assert!(zero.is_sign_negative());
}

/// F4: data length per type.
fn scenario_f4_a_value_arrives_with_all_of_its_length(setting: Setting) {
    let world = World::new(setting);
    let _worker = world.fork_up("strict", "worker");
    for length in [0_u32, 1, 23, 24, 255, 256, 65_535, 65_536, 300_000] {
        let bytes = Value::Bytes(vec![9; length as usize]);
        assert_eq!(kind(&world, &bytes).get("size"), Some(&int(length)));
        let letters = text(&"ä".repeat(length as usize));
        assert_eq!(kind(&world, &letters).get("size"), Some(&int(2 * length)));
    }
}

/// F5: object->Buffer, bool->number, string kept.
fn scenario_f5_objects_become_bytes_and_bytes_become_objects_again(setting: Setting) {
    let world = World::new(setting);
    let _worker = world.fork_up("echo", "worker");
    for value in [
        map([("a", Value::Bool(false))]),
        Value::Bool(true),
        text("kept"),
    ] {
        let echo = world.hub().request("echo", &value, How::to("worker"));
        assert_eq!(echo.unwrap(), value);
    }
}

/// F6: default serializer · F7: default deserializer.
fn scenario_f6_f7_the_default_codec_writes_and_reads_any_value(setting: Setting) {
    let world = World::new(setting);
    let _worker = world.fork_up("echo", "worker");
    let deep = (0..50).fold(int(0), |inner, n| match n % 2 {
        0 => Value::Array(vec![inner, Value::Float(f64::from(n))]),
        _ => Value::Map(vec![(int(n), inner), (Value::Bool(true), Value::Null)]),
    });
    let echo = world.hub().request("echo", &deep, How::to("worker"));
    assert_eq!(echo.unwrap(), deep);
}

/// What the worker has logged.
fn items(world: &World) -> Value {
    world
        .hub()
        .request("items", &Value::Null, How::to("worker"))
        .unwrap()
}

/// F18: three messages in one buffer -> 3.
fn scenario_f18_messages_that_lie_in_one_buffer_are_told_apart(setting: Setting) {
    let world = World::new(setting);
    let _worker = world.fork("log", "worker");
    // They lie in the buffer of this process until the worker attaches, and leave it in one write.
    let values = [
        text("one"),
        map([("two", int(2))]),
        Value::Bytes(vec![3; 3000]),
    ];
    for value in &values {
        world.hub().emit("item", value, How::to("worker")).unwrap();
    }
    assert_eq!(items(&world), Value::Array(values.into()));
}

/// F19: the same in small chunks -> 3.
fn scenario_f19_messages_in_small_chunks_are_put_together(setting: Setting) {
    let world = World::new(setting);
    for piece in [1, 7] {
        let _worker = world.fork_behind_relay("log", "worker", piece);
        let values = [
            text("one"),
            map([("two", int(2))]),
            Value::Bytes(vec![3; 3000]),
        ];
        for value in &values {
            world.hub().emit("item", value, How::to("worker")).unwrap();
        }
        assert_eq!(items(&world), Value::Array(values.into()));
        drop(_worker);
        world.wait_gone("worker");
    }
}
