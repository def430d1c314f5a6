//! Can be built only as long as the core needs no std. See `Cargo.toml`. It is never run.

#![no_std]
#![no_main]

use core::alloc::{GlobalAlloc, Layout};
use core::hint::black_box;
use core::panic::PanicInfo;

use switchboard_proto::codec::{self, CodecId, Value};
use switchboard_proto::registry::{Registry, Roles};

#[unsafe(no_mangle)]
extern "C" fn _start() -> ! {
    // Something of each part, so that the linker has to find what it calls.
    let mut registry = Registry::new();
    let _ = registry.register("", "name", Roles::BOTH, black_box(1_u32));
    black_box(registry.dispatch("", "name"));
    for codec in black_box([CodecId::CBOR, CodecId::JSON]) {
        let payload = codec::encode(codec, &Value::Null).unwrap_or_default();
        let _ = black_box(codec::decode::<Value>(codec, &payload));
    }
    loop {}
}

#[panic_handler]
fn panic(_: &PanicInfo<'_>) -> ! {
    loop {}
}

struct Nothing;

// SAFETY: a null pointer says that the allocation failed, which is always allowed.
unsafe impl GlobalAlloc for Nothing {
    unsafe fn alloc(&self, _: Layout) -> *mut u8 {
        core::ptr::null_mut()
    }

    unsafe fn dealloc(&self, _: *mut u8, _: Layout) {}
}

#[global_allocator]
static ALLOCATOR: Nothing = Nothing;

/// What the compiler itself may call, on any target. Everything else is undefined on purpose.
macro_rules! asked_for_by_the_compiler {
    ($($name:ident)*) => {$(
        #[unsafe(no_mangle)]
        extern "C" fn $name() -> ! {
            loop {}
        }
    )*};
}

asked_for_by_the_compiler! { memcpy memmove memset memcmp bcmp strlen rust_eh_personality _Unwind_Resume }
