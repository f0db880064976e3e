//! Images in processes of their own: the same results wherever they are made, attacks from within the sandbox, and deaths under load.
//!
//! This program is also the child that its servers start: an image that carries an order in its last bytes is not processed but used to
//! attack (`attacks.rs`). `TEST_SANDBOX_KILLS` says how many children are killed under load (default 25).

// A test's panic is its report.
#![allow(clippy::unwrap_used)]

#[cfg(target_os = "linux")]
mod attacks;
#[cfg(target_os = "linux")]
mod deaths;
#[cfg(target_os = "linux")]
mod same;
#[cfg(target_os = "linux")]
mod settings;

#[cfg(target_os = "linux")]
mod support;

#[cfg(target_os = "linux")]
fn main() {
    use libtest_mimic::{Arguments, Failed, Trial};
    minilab::worker::isolation::child_main_if_requested_with(attacks::work);
    let trial = |name: &str, test: fn()| {
        Trial::test(name, move || {
            test();
            Ok::<(), Failed>(())
        })
    };
    let trials = vec![
        trial("every mode makes the same", same::every_mode_makes_the_same),
        trial("attacks die alone", attacks::attacks_die_alone),
        trial("children die under load", deaths::children_die_under_load),
        trial("the server's death makes no suspects", deaths::the_servers_death_makes_no_suspects),
        trial("children end with their server", deaths::children_end_with_their_server),
        trial("children give way to everybody", deaths::children_give_way_to_everybody),
        trial("a cancel ends the process", deaths::a_cancel_ends_the_process),
        trial("a sandbox that is required", settings::a_sandbox_that_is_required),
    ];
    libtest_mimic::run(&Arguments::from_args(), trials).exit();
}

#[cfg(not(target_os = "linux"))]
fn main() {
    eprintln!("processes of their own are for Linux only: nothing was checked");
}
