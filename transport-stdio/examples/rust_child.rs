//! A child in Rust, and the parent that asks it: one program in both parts.
//!
//! `cargo run -p switchboard-stdio --example rust_child`

use switchboard_stdio::{Channel, Restart, Spawn, parent};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    if std::env::args().nth(1).as_deref() == Some("child") {
        return child();
    }
    let child = Spawn::new(std::env::current_exe()?)
        .arg("child")
        .name("worker/1")
        .channel(Channel::Pipes)
        .restart(Restart::on_failure(5))
        .spawn()?;
    let area: f64 = child.request("area", &(3.0, 4.0)).wait()?;
    println!("{}: {area}", child.name());
    child.stop();
    child.wait_end(std::time::Duration::from_secs(10));
    if let Some(exited) = child.last_exit() {
        println!("{exited}");
    }
    Ok(())
}

fn child() -> Result<(), Box<dyn std::error::Error>> {
    // First of all: from here on, what prints prints to stderr and harms no message.
    let parent = parent()?;
    println!("this line is the last the parent hears of my stderr");
    parent.on("area", |(a, b): (f64, f64)| Ok(a * b)).forever();
    parent.serve();
    Ok(())
}
